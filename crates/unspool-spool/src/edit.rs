//! Edit: a task's content is replaced by another one, under its name and its id.
//!
//! A file is never changed in place: a new one is written aside and takes the name of the old, so that
//! a reader sees one of the two. What may be edited, and how, is not decided here.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use unspool_core::Message;
use unspool_core::signing::Keyring;
use unspool_core::taskfile::{
    BadSignature, InvalidMessage, Malformed, TaskFile, encode, encode_foreign, signer, verify,
};
use unspool_sys::file::{set_mtime, sync_file, write_all};
use unspool_sys::folder::{Folder, Stat};
use unspool_sys::lock::Holder;
use unspool_sys::{files, host};

use crate::SpoolDir;
use crate::find::Whereabouts;
use crate::hold::{Held, Lease, hold};
use crate::list::listed;
use crate::read::read_all;

/// A task that cannot be rewritten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Its bytes are no task's.
    #[error("it is damaged")]
    Malformed(#[from] Malformed),
    /// No file can hold the new content.
    #[error(transparent)]
    Message(#[from] InvalidMessage),
    /// It is signed, and there is nothing to sign it with.
    #[error(
        "it is signed with the key `{key}`: give the keys with --keys FILE, or a configuration that has \
         `spooler-keys`, so that it can be signed anew"
    )]
    NoKey {
        /// Who signed it.
        key: String,
    },
    /// Its signature is none of our keys'. To sign it anew would make a forged task a good one.
    #[error("it is not signed anew: {0}")]
    Signature(#[from] BadSignature),
    /// Its new file would be ours, and whose file it is says who may run it.
    #[error(
        "it belongs to uid {owner}, and would be yours then: only that user and root can edit it; submit a \
         new one and cancel this"
    )]
    NotOurs {
        /// Whose it is.
        owner: u32,
    },
    /// The system refused.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It is done, and may be undone by a power cut.
    #[error("it is changed, and may be as before after a power cut: its folder does not flush")]
    NotDurable(#[source] io::Error),
}

/// What a try to edit a task came to.
#[derive(Debug)]
pub enum Editing {
    /// Nobody runs it until this is dropped.
    Task(Box<Edit>),
    /// There is no such task any more.
    Gone,
    /// Somebody has it.
    Held(Holder),
}

/// A task that is being edited.
#[derive(Debug)]
pub struct Edit {
    folder: Folder,
    /// Where its new file is made, if that is not its own folder.
    elsewhere: Option<Folder>,
    name: Vec<u8>,
    lease: Lease,
    content: Vec<u8>,
}

impl Edit {
    /// Holds a task that is pending, or was given up.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin(spool: &SpoolDir, task: &Whereabouts) -> io::Result<Editing> {
        let Some(listed) = listed(spool.view(), task)? else { return Ok(Editing::Gone) };
        let lease = match hold(listed.folder(), listed.name())? {
            Held::Ours(lease) => lease,
            Held::Gone => return Ok(Editing::Gone),
            Held::Theirs(holder) => return Ok(Editing::Held(holder)),
        };
        let (_, content) = read_all(lease.file.as_fd())?;
        let folder = listed.folder().try_clone()?;
        let elsewhere = match task {
            Whereabouts::Pending(_) => None,
            // What a crash leaves there is collected.
            Whereabouts::Kept(..) => Some(spool.top().try_clone()?),
        };
        let name = listed.name().to_vec();
        Ok(Editing::Task(Box::new(Self { folder, elsewhere, name, lease, content })))
    }

    /// As its file was when it was taken.
    pub fn stat(&self) -> &Stat {
        &self.lease.stat
    }

    /// Whether its new file can belong to whom the old one belongs.
    ///
    /// # Errors
    /// [`EditError::NotOurs`].
    pub fn check_owner(&self) -> Result<(), EditError> {
        let owner = self.lease.stat.owner;
        if host::is_root() || owner == host::uid() {
            Ok(())
        } else {
            Err(EditError::NotOurs { owner })
        }
    }

    /// What it says.
    ///
    /// # Errors
    /// It is damaged.
    pub fn message(&self) -> Result<Message, Malformed> {
        Ok(TaskFile::parse(&self.content)?.to_message())
    }

    /// Puts a new file in the place of the old one, with this content, and this due time in nanoseconds
    /// since 1970 if one is given. Its id, name, owner, mode and count of attempts stay. It is signed
    /// by the first of the keys if the old one was signed by one of them.
    ///
    /// # Errors
    /// With [`EditError::NotDurable`] it is done; with any other one the task is as it was.
    pub fn commit(
        self,
        message: &Message,
        due_ns: Option<i64>,
        keys: Option<&Keyring>,
    ) -> Result<(), EditError> {
        self.check_owner()?;
        let old = TaskFile::parse(&self.content)?;
        let key = match (signer(&self.content), keys) {
            (None, _) => None,
            (Some(key), None) => {
                let key = String::from_utf8_lossy(key).into_owned();
                return Err(EditError::NoKey { key });
            }
            (Some(_), Some(keys)) => {
                verify(&self.content, keys)?;
                Some(keys.first())
            }
        };
        let mut file = match old.mark {
            Some(mark) => encode(message, mark.id, key)?,
            None => encode_foreign(message)?,
        };
        // Neither the checksum nor the signature covers it.
        file[3] = old.attempts;
        let due_ns = due_ns.unwrap_or(self.lease.stat.mtime_ns);
        let aside = [b".", &self.name[..]].concat();
        let fail = |action| move |source| EditError::Io { action, source };
        self.write(&aside, &file, due_ns).map_err(fail("write the new file"))?;
        // COMMIT POINT: the old content before, the new one after.
        let replaced = self.aside().replace_to(&aside, &self.folder, &self.name);
        replaced.map_err(|error| {
            let _ = self.aside().unlink(&aside);
            fail("put the new file in its place")(error)
        })?;
        let elsewhere = self.elsewhere.as_ref().map_or(Ok(()), Folder::sync);
        self.folder.sync().and(elsewhere).map_err(EditError::NotDurable)
    }

    fn aside(&self) -> &Folder {
        self.elsewhere.as_ref().unwrap_or(&self.folder)
    }

    /// Leaves nothing behind on failure. Of several editors one holds the task, so that a file of this
    /// name is one that was left.
    fn write(&self, aside: &[u8], content: &[u8], due_ns: i64) -> io::Result<OwnedFd> {
        self.aside().unlink(aside)?;
        let file = self.aside().create(aside)?;
        let written = (|| {
            self.hand_over(&file)?;
            write_all(file.as_fd(), content)?;
            set_mtime(file.as_fd(), due_ns)?;
            sync_file(file.as_fd())
        })();
        if written.is_err() {
            let _ = self.aside().unlink(aside);
        }
        written.map(|()| file)
    }

    /// Whose file it is says who may run it, and whose pickles are loaded.
    fn hand_over(&self, file: &OwnedFd) -> io::Result<()> {
        let Stat { owner, group, mode, .. } = self.lease.stat;
        if host::is_root() {
            files::give(file, Some(owner), Some(group))?;
        }
        files::set_mode(file, mode & 0o666)
    }
}
