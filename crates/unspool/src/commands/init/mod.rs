//! `unspool init`: a starter set-up for the application in a folder.
//!
//! `application` sees what is there, `files` has the texts. Here is what is written, whether that may be,
//! and what is told of it.

mod application;
mod files;

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use unspool_sys::{files as system, folder, steps};

use self::application::Application;
use self::files::Place;
use crate::cli::{InitOptions, StarterFile};
use crate::logging::complain_as_asked;
use crate::{display, exit, terminal};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
enum InitError {
    #[error(
        "{} there already, and nothing was written: --force replaces it, --only FILE chooses files, --print \
         shows what would be written", are(.0)
    )]
    Exists(Vec<PathBuf>),
    #[error("cannot make the folder `{path}`")]
    Directory { path: PathBuf, source: io::Error },
    #[error("`{path}` has a line break in it, which a unit of systemd cannot name")]
    LineBreak { path: PathBuf },
    #[error(
        "`{path}` has `{mark}` in its name, and an ini file takes that for the name of a variable, a file or an \
         option: give the folder another name"
    )]
    Mark { path: PathBuf, mark: &'static str },
    #[error("cannot write `{path}`; no new file was made")]
    Write { path: PathBuf, source: io::Error },
    #[error("this program cannot find its own place")]
    Program(#[source] io::Error),
}

fn are(paths: &[PathBuf]) -> String {
    let names = paths.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>();
    format!("{} {}", names.join(", "), if names.len() == 1 { "is" } else { "are" })
}

/// Writes the files, or prints them.
pub(crate) fn run(options: &InitOptions) -> u8 {
    match start(options) {
        Ok(told) => {
            // Files that are written are there, whether or not somebody reads of it.
            if options.print {
                return terminal::print(&told, exit::OK);
            }
            let _ = io::stdout().write_all(told.as_bytes());
            exit::OK
        }
        Err(error) => {
            complain_as_asked(&error, options.json);
            match error {
                InitError::LineBreak { .. } | InitError::Mark { .. } => exit::USAGE,
                _ => exit::FAILED,
            }
        }
    }
}

fn start(options: &InitOptions) -> Result<String, InitError> {
    let program = std::env::current_exe().map_err(InitError::Program)?;
    let directory = std::path::absolute(&options.directory)
        .map_err(|source| InitError::Directory { path: options.directory.clone(), source })?;
    // As others see it, so that a unit does not depend on a link. A folder that is not there has none.
    let directory = folder::canonical(&directory).unwrap_or(directory);
    if directory.to_string_lossy().contains('\n') {
        return Err(InitError::LineBreak { path: directory });
    }
    let application = Application::seen_in(&directory);
    let place = Place { directory: &directory, program: &program, application: &application };
    let planned = plan(options, &directory, &application);
    let is_in_name = |mark: &&str| directory.to_string_lossy().contains(*mark);
    if planned.contains(&StarterFile::Ini)
        && let Some(mark) = ["$(", "@(", "%("].into_iter().find(is_in_name)
    {
        return Err(InitError::Mark { path: directory, mark });
    }
    let texts = planned.iter().map(|file| (*file, place.text(*file))).collect::<Vec<_>>();
    if options.print {
        return Ok(printed(&texts, options.json));
    }
    write(&directory, &texts, options.force)?;
    Ok(told(options, &place, &planned))
}

/// What is to be written. The example of a task only where there is none.
fn plan(options: &InitOptions, directory: &Path, seen: &Application) -> Vec<StarterFile> {
    let needed = |file: StarterFile| {
        file != StarterFile::Tasks
            || (seen.modules.is_empty() && !directory.join(file.name()).exists())
    };
    let wanted = |file: StarterFile| {
        if options.only.is_empty() { needed(file) } else { options.only.contains(&file) }
    };
    StarterFile::ALL.into_iter().filter(|file| wanted(*file)).collect()
}

/// All of them or none, but for those that are replaced.
fn write(directory: &Path, texts: &[(StarterFile, String)], force: bool) -> Result<(), InitError> {
    let there = |path: &PathBuf| path.symlink_metadata().is_ok();
    let kept = |file: StarterFile| !force || file == StarterFile::Tasks;
    let paths =
        texts.iter().filter(|(file, _)| kept(*file)).map(|(file, _)| directory.join(file.name()));
    let existing = paths.filter(there).collect::<Vec<_>>();
    if !existing.is_empty() {
        return Err(InitError::Exists(existing));
    }
    if !directory.exists() {
        steps::make_directory(directory)
            .map_err(|source| InitError::Directory { path: directory.to_owned(), source })?;
    }
    let mut made = Vec::new();
    for (file, text) in texts {
        let path = directory.join(file.name());
        let new = kept(*file);
        let put = if new { system::create } else { system::replace };
        match put(&path, text.as_bytes()) {
            Ok(()) if new => made.push((path, text)),
            Ok(()) => {}
            Err(source) => {
                for (path, text) in &made {
                    let _ = system::remove_if(path, text.as_bytes());
                }
                return Err(match source.kind() {
                    io::ErrorKind::AlreadyExists => InitError::Exists(vec![path]),
                    _ => InitError::Write { path, source },
                });
            }
        }
    }
    Ok(())
}

fn printed(texts: &[(StarterFile, String)], as_json: bool) -> String {
    if as_json {
        let files = texts.iter().map(|(file, text)| json!({ "name": file.name(), "text": text }));
        return display::json_block(&json!({ "files": files.collect::<Vec<_>>() }));
    }
    match texts {
        [(_, text)] => text.clone(),
        several => several.iter().fold(String::new(), |mut all, (file, text)| {
            // Writing into a String cannot fail.
            let _ = writeln!(all, "# ==> {} <==\n{text}", file.name());
            all
        }),
    }
}

/// What was written, and what to type next.
fn told(options: &InitOptions, place: &Place<'_>, written: &[StarterFile]) -> String {
    let next = next(options, place, written);
    let modules = place.application.modules.iter().map(|module| module.name.as_str());
    if options.json {
        let paths = written.iter().map(|file| place.directory.join(file.name()));
        let paths = paths.map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>();
        let commands = next.iter().map(|(command, _)| command).collect::<Vec<_>>();
        return display::json_block(&json!({
            "written": paths,
            "modules": modules.collect::<Vec<_>>(),
            "function": place.application.function,
            "next": commands,
        }));
    }
    let mut text = String::new();
    for file in written {
        let path = place.directory.join(file.name());
        let path = display::clean(&path.to_string_lossy());
        // Writing into a String cannot fail.
        let _ = writeln!(text, "wrote {path}");
    }
    let modules = modules.collect::<Vec<_>>().join(", ");
    if written.contains(&StarterFile::Ini) && !modules.is_empty() {
        let _ = writeln!(
            text,
            "\nTasks are in {modules}; if in others too, give them a line `spooler-import` each."
        );
    }
    let _ = writeln!(text, "\nNext:");
    let width = next.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
    for (command, what) in next {
        let _ = writeln!(text, "  {:width$}  # {what}", display::clean(&command));
    }
    text
}

/// Commands, and what each does.
fn next(
    options: &InitOptions,
    place: &Place<'_>,
    written: &[StarterFile],
) -> Vec<(String, &'static str)> {
    let mut commands = Vec::new();
    if std::env::current_dir().ok().as_deref() != Some(place.directory) {
        commands.push((format!("cd {}", display::shell_path(&options.directory)), "where it is"));
    }
    if written.iter().any(|file| matches!(file, StarterFile::Ini | StarterFile::Tasks)) {
        let example = written.contains(&StarterFile::Tasks);
        let call = match &place.application.function {
            Some(function) => format!("{function} KEY=VALUE"),
            None if example => "greet name=Ada".to_owned(),
            None => "FUNCTION KEY=VALUE".to_owned(),
        };
        let ini = StarterFile::Ini.name();
        commands.push((format!("unspool doctor {ini}"), "does it work?"));
        commands.push((format!("unspool run {ini}"), "run tasks, until Ctrl-C"));
        commands.push((format!("unspool spool --config {ini} {call}"), "submit one, elsewhere"));
    }
    if written.contains(&StarterFile::Unit) {
        let install =
            "sudo cp unspool.service /etc/systemd/system/ && sudo systemctl enable --now unspool";
        commands.push((install.to_owned(), "as a service"));
    }
    if written.contains(&StarterFile::Dockerfile) {
        commands.push((
            format!("docker build -t {} .", place.image()),
            "with unspool's wheel beside it",
        ));
    }
    commands
}
