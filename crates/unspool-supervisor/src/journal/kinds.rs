//! All kinds of events. A name that was released stays; docs/reference/events.md follows this list.

use tracing::Level;

use super::EventKind;

macro_rules! kinds {
    ($($(#[$about:meta])+ $kind:ident = $name:literal $level:ident [$($field:ident),*];)+) => {
        $(
            $(#[$about])+
            pub const $kind: EventKind = EventKind {
                name: $name,
                level: Level::$level,
                fields: &[$(stringify!($field)),*],
            };
        )+
        /// Each of them.
        pub const KINDS: &[EventKind] = &[$($kind),+];
    };
}

kinds! {
    /// The daemon has met a task that it did not know, or one that is due.
    TASK_SEEN = "task.seen" TRACE [task];
    /// The daemon has locked a task's file: nobody else runs it.
    TASK_CLAIMED = "task.claimed" TRACE [task, function, attempt, id];
    /// A worker was given it. An idle one starts it at once, another one after what it has.
    TASK_HANDED = "task.handed" TRACE [task, function, pid, attempt, id];
    /// It ended as it should.
    TASK_FINISHED = "task.finished" INFO [task, function, pid, ms, attempt, id];
    /// It asked to run again, which counts for nothing unless there is a limit of retries.
    TASK_RETRIED = "task.retried" INFO [task, function, pid, ms, attempt, id];
    /// An attempt failed: by an exception, its time, or the death of its worker. It runs again after
    /// `again_s`; without that it is given up.
    TASK_FAILED = "task.failed" ERROR
        [task, function, pid, attempt, again_s, ms, detail, error, id];
    /// It was given up, and lies in `dead/` now.
    TASK_BURIED = "task.buried" ERROR [task, function, attempts, moved_to, error, id];
    /// It was given up since it was not started before it expired.
    TASK_EXPIRED = "task.expired" ERROR [task, function, attempts, moved_to, error, id];
    /// It is given up and cannot be moved to `dead/`: it stays, and does not run.
    TASK_UNBURIED = "task.unburied" ERROR [task, function, error, again_s, id];
    /// Somebody cancelled it: it does not run, or not any more.
    TASK_CANCELLED = "task.cancelled" INFO [task, function, pid, ms, id];
    /// It was cancelled while it runs, and is told so.
    TASK_CANCELLING = "task.cancelling" INFO [task, pid, grace_s];
    /// It was cancelled, did not end, and its worker was killed.
    TASK_CANCELLED_BY_FORCE = "task.cancelled_by_force" WARN [task, function, pid, ms, id];
    /// A stop, a reload or another task's cancellation ended its worker. It runs again, uncounted.
    TASK_INTERRUPTED = "task.interrupted" WARN [task, function, pid, attempt, id];
    /// No handler wanted it. It is offered again after `again_s`.
    TASK_IGNORED = "task.ignored" INFO [task, function, again_s, id];
    /// The application does not know its function. It stays, uncounted, and is tried again.
    TASK_UNKNOWN = "task.unknown" ERROR [task, function, again_s, error, id];
    /// Its file may not run as it is, and goes to `corrupt/` unless it changes.
    TASK_SUSPECT = "task.suspect" WARN [task, in_s];
    /// Its file is no whole task, and lies in `corrupt/` now.
    TASK_CORRUPT = "task.corrupt" ERROR [task, moved_to, error];
    /// Its signature or its owner is not what the configuration asks for. It lies in `corrupt/` now.
    TASK_REFUSED = "task.refused" ERROR [task, moved_to, error];
    /// Its file was moved by somebody while it ran.
    TASK_MOVED = "task.moved" WARN [task, function, id];
    /// It is over, and its file cannot be deleted yet.
    TASK_UNDELETED = "task.undeleted" ERROR [task, error, id];
    /// The lock of its file was lost while it ran, and somebody else may have it: it was not deleted.
    TASK_LEASE_LOST = "task.lease_lost" ERROR [task, error, id];
    /// Its file cannot be opened. It is tried again after `again_s`.
    TASK_UNOPENED = "task.unopened" ERROR [task, error, again_s, tasks];
    /// What became of it cannot be written down. The task itself is not affected.
    TASK_UNRECORDED = "task.unrecorded" WARN [task, error, id];

    /// Old tasks of a uWSGI's are held until somebody decides.
    HOLD_FOUND = "hold.found" WARN [spool, tasks, nested_folders];
    /// Tasks lie where nobody runs them: in folders of priorities' folders.
    HOLD_NESTED = "hold.nested" WARN [spool, nested_folders];
    /// Old tasks are held, since somebody decided so.
    HOLD_DECIDED = "hold.decided" INFO [spool, tasks];
    /// Old tasks are on their way to `dead/`.
    HOLD_BURYING = "hold.burying" INFO [spool, tasks, groups];
    /// They lie there now.
    HOLD_BURIED = "hold.buried" INFO [spool, tasks];
    /// One cannot be moved there, and stays held.
    HOLD_STUCK = "hold.stuck" ERROR [task, error];
    /// Somebody decided that they run.
    HOLD_RELEASED = "hold.released" INFO [spool, released, kept];

    /// Somebody paused the spool, a priority or a function: `what` does not run.
    SPOOL_PAUSED = "spool.paused" INFO [spool, what, by, why];
    /// And let it run again.
    SPOOL_RESUMED = "spool.resumed" INFO [spool, what];
    /// It is not known what is paused: no task runs.
    SPOOL_PAUSES_UNREAD = "spool.pauses_unread" ERROR [spool, error];
    /// It is known again.
    SPOOL_PAUSES_READ = "spool.pauses_read" INFO [spool];
    /// A spool was listed.
    SPOOL_SCANNED = "spool.scanned" INFO [spool, tasks, due, held, ms];
    /// A folder cannot be listed. It is tried again.
    SPOOL_SCAN_FAILED = "spool.scan_failed" ERROR [folder, error];
    /// The kernel does not tell of changes: the spool is listed now and then.
    SPOOL_UNWATCHED = "spool.unwatched" WARN [spool, error];
    /// It is on a file system that says nothing of what other machines do: it is listed each `every_s`.
    SPOOL_POLLED = "spool.polled" INFO [spool, file_system, every_s];
    /// More tasks are pending than are kept in memory.
    SPOOL_FULL = "spool.full" WARN [spool, tasks, limit];
    /// No task can be opened for want of something. It is tried again.
    SPOOL_SHORTAGE = "spool.shortage" ERROR [error];
    /// Of a folder, or of all, no more tasks run: too many are done and cannot be deleted.
    SPOOL_STOPPED = "spool.stopped" ERROR [folder, spool, error, tasks];
    /// They run again.
    SPOOL_GOES_ON = "spool.goes_on" INFO [folder];
    /// A spool's thread could not go on. The daemon stops.
    SPOOL_LOST = "spool.lost" ERROR [spool];
    /// How a spool is doing, for SIGUSR1.
    SPOOL_STATE = "spool.state" INFO [spool, pending, due, running, done, failed, workers];
    /// What a submitter left that died was deleted.
    SUBMISSION_DELETED = "spool.remnant_deleted" INFO [file, result];
    /// A crash had cut the burial of a task; it was ended.
    BURIAL_ENDED = "spool.burial_ended" INFO [task];
    /// The record of a task that is gone was removed.
    RECORD_REMOVED = "spool.record_removed" INFO [task];

    /// A worker was asked for.
    WORKER_ASKED = "worker.asked" DEBUG [worker, role];
    /// Its process is there.
    WORKER_STARTED = "worker.started" DEBUG [worker, pid, kind];
    /// It takes tasks.
    WORKER_READY = "worker.ready" DEBUG [worker, pid, kind];
    /// It cannot be forked.
    WORKER_NOT_FORKED = "worker.not_forked" ERROR [worker, error];
    /// A worker that imports the application itself cannot.
    WORKER_IMPORT_FAILED = "worker.import_failed" ERROR [pid, module, detail];
    /// It is not ready, or has not ended, in time. It is killed.
    WORKER_LATE = "worker.late" ERROR [worker, pid, kind];
    /// It has done enough, or grown too big or old: another one takes its place.
    WORKER_RECYCLED = "worker.recycled" INFO [pid, kind, reason];
    /// It has ended as it was told to.
    WORKER_LEFT = "worker.left" INFO [pid, kind, cause];
    /// It has ended by itself, or was killed. Another one starts after `again_ms`.
    WORKER_DIED = "worker.died" WARN [pid, kind, again_ms, cause];
    /// What its threads did as it was ended.
    WORKER_LAST_WORDS = "worker.last_words" ERROR [pid, detail];
    /// What it runs has passed a limit of time. It is killed.
    WORKER_TIME_LIMIT = "worker.time_limit" ERROR [pid, kind, limit_s, option];
    /// It has passed a limit of memory. It is killed.
    WORKER_MEMORY_LIMIT = "worker.memory_limit" ERROR [pid, kind, reason];
    /// It is of the application before a reload, and its time to end is over.
    WORKER_MERCY_OVER = "worker.mercy_over" WARN [pid, kind, limit_s];
    /// Its task was cancelled and does not end. It is killed.
    WORKER_KILLED = "worker.killed" WARN [pid];

    /// The application was imported.
    IMPORT_DONE = "import.done" INFO [pid, functions];
    /// A module cannot be imported.
    IMPORT_FAILED = "import.failed" ERROR [module, detail];
    /// The import takes longer than it may. Its process is ended.
    IMPORT_TIME_LIMIT = "import.time_limit" ERROR [pid, limit_s];
    /// Python cannot be started.
    ZYGOTE_NOT_STARTED = "zygote.not_started" ERROR [python, error];
    /// The process that workers are forked from has ended. Another one is started.
    ZYGOTE_DIED = "zygote.died" ERROR [pid, cause];
    /// It forks no workers. It is killed.
    ZYGOTE_KILLED = "zygote.killed" ERROR [pid];

    /// A process of the application asks for a reload.
    RELOAD_ASKED = "reload.asked" INFO [pid];
    /// The application is imported anew.
    RELOAD_STARTED = "reload.started" INFO [];
    /// All workers of a spool, or without one all web workers, are of the new application.
    RELOAD_DONE = "reload.done" INFO [spool];
    /// The new application cannot be imported. The workers go on with the old one.
    RELOAD_FAILED = "reload.failed" ERROR [];
    /// A source file of the application has changed.
    SOURCE_CHANGED = "reload.source_changed" INFO [path, files];

    /// The first workers take tasks.
    DAEMON_READY = "daemon.ready" INFO [spools, workers, mules, web];
    /// How the daemon is, for SIGUSR1.
    DAEMON_STATE = "daemon.state" INFO
        [pid, spools, workers, mules, web, generation, zygote, importing, stopping];
    /// The machine's clock was set. Tasks that wait to run again are moved with it.
    CLOCK_SET = "daemon.clock_set" WARN [by_s];
    /// The command of a hook ended with status 0.
    HOOK_DONE = "hook.done" INFO [pid, hook];
    /// It did not. The hooks behind it are left out.
    HOOK_FAILED = "hook.failed" ERROR [pid, hook, cause];
    /// It cannot be started.
    HOOK_NOT_STARTED = "hook.not_started" ERROR [hook, error];
    /// A process of the application asks for a stop.
    STOP_ASKED = "daemon.stop_asked" INFO [pid];
    /// The daemon stops, and waits for running tasks.
    DAEMON_STOPPING = "daemon.stopping" INFO [wait_s];
    /// Running tasks have had their time: their workers get SIGTERM.
    STOP_TERMINATES = "daemon.stop_terminates" WARN [workers, crons];
    /// And now SIGKILL.
    STOP_KILLS = "daemon.stop_kills" WARN [workers, crons];
    /// Even so they do not end, and are left.
    STOP_LEAVES = "daemon.stop_leaves" WARN [workers, crons];
    /// The daemon has ended.
    DAEMON_STOPPED = "daemon.stopped" INFO [];

    /// This daemon fires timers and crons.
    SCHEDULE_TAKEN = "schedule.taken" INFO [];
    /// Another daemon of the configuration does.
    SCHEDULE_ELSEWHERE = "schedule.elsewhere" INFO [];
    /// Somebody paused a timer or a cron: it does not fire.
    SCHEDULE_PAUSED = "schedule.paused" INFO [name, id, by, why];
    /// And let it fire again.
    SCHEDULE_RESUMED = "schedule.resumed" INFO [name, id];
    /// Somebody asked that it fires now.
    SCHEDULE_RUN = "schedule.run" INFO [name, id];
    /// A handler of a timer, a cron or a signal ran.
    TICK_DONE = "tick.done" INFO [signal, mule, pid, ms, left_out];
    /// It raised an exception, or its worker died.
    TICK_FAILED = "tick.failed" ERROR [signal, mule, pid, ms, left_out, detail, cause];
    /// Its mule died.
    TICK_LOST = "tick.lost" WARN [signal, mule, pid, cause];
    /// A worker for such handlers died while it ran none.
    TICK_WORKER_DIED = "tick.worker_died" ERROR [cause];
    /// The command of a cron was started.
    CRON_STARTED = "cron.started" INFO [pid, command];
    /// It cannot be.
    CRON_NOT_STARTED = "cron.not_started" ERROR [command, directory, error];
    /// It was not, since it still runs, or too many do.
    CRON_SKIPPED = "cron.skipped" WARN [skipped, command, running];
    /// It ended with status 0.
    CRON_DONE = "cron.done" INFO [pid, seconds, command];
    /// It did not.
    CRON_FAILED = "cron.failed" ERROR [pid, seconds, command, cause];
    /// A stop ended it.
    CRON_INTERRUPTED = "cron.interrupted" WARN [pid, seconds, command, cause];
    /// It has passed its limit of time. It is killed.
    CRON_TIME_LIMIT = "cron.time_limit" ERROR [pid, seconds, command];
    /// The daemon stops, and lets it go on.
    CRON_LEFT = "cron.left" INFO [pid, command];

    /// A mule takes messages.
    MULE_READY = "mule.ready" INFO [mule, pid];
    /// It has ended as it was told to.
    MULE_LEFT = "mule.left" INFO [mule, pid];
    /// It has ended by itself. It is started again.
    MULE_DIED = "mule.died" WARN [mule, pid, again_ms, cause];
    /// It died while it handled a message, which is lost.
    MULE_MESSAGE_LOST = "mule.message_lost" ERROR [mule, pid, bytes, ms, cause];
    /// Messages that no mule has read are lost at the end.
    MULE_MESSAGES_LOST = "mule.messages_lost" WARN [messages];
    /// A message, or a handler of a signal, has passed the limit of time. Its mule is killed.
    MULE_TIME_LIMIT = "mule.time_limit" ERROR [mule, pid, bytes, signal, limit_s];
    /// It does not end in its time. It is killed.
    MULE_MERCY_OVER = "mule.mercy_over" WARN [mule, pid, mercy_s];

    /// An attached daemon was started.
    ATTACHED_STARTED = "attached.started" INFO [pid, command];
    /// It cannot be.
    ATTACHED_FAILED = "attached.failed" ERROR [command, directory, error];
    /// One runs already.
    ATTACHED_FOUND = "attached.found" INFO [pid, command];
    /// It has ended by itself.
    ATTACHED_DIED = "attached.died" WARN [pid, pidfile, again_ms, command, cause];
    /// It has ended as it was told to.
    ATTACHED_ENDED = "attached.ended" INFO [pid, command, cause];
    /// It is told to end.
    ATTACHED_STOPPING = "attached.stopping" INFO [pid, command];
    /// It does not end in its time. It is killed.
    ATTACHED_KILLED = "attached.killed" WARN [pid, command];
    /// It is told to reload, or started again.
    ATTACHED_RELOADED = "attached.reloaded" INFO [pid, signal, command];

    /// Lines of the log could not be written, or were not read in time.
    LOG_LINES_LOST = "log.lines_lost" WARN [];
    /// A log file cannot be rotated, or not be opened anew.
    LOG_UNMOVED = "log.unmoved" WARN [];
    /// A file of a touch option was touched.
    FILE_TOUCHED = "touch.seen" INFO [option, path, signal, command];
    /// Its command has ended.
    COMMAND_ENDED = "touch.command_ended" INFO [option, pid, cause];
    /// Its command cannot be started.
    COMMAND_NOT_STARTED = "touch.command_not_started" ERROR [command, error];
}
