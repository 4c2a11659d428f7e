//! The files, filled in for an application.

use std::path::Path;

use unspool_sys::{folder, host, user};

use super::application::{Application, Module, Requirements};
use crate::cli::StarterFile;

/// The version of Python in an image, where this installation does not say its own.
const PYTHON_VERSION: &str = "3.13";
/// What `ProtectSystem=full` makes read-only.
const SYSTEM_FOLDERS: [&str; 4] = ["/usr", "/etc", "/boot", "/efi"];

/// What is filled in.
pub(super) struct Place<'a> {
    /// The folder, absolute.
    pub(super) directory: &'a Path,
    /// This program, absolute.
    pub(super) program: &'a Path,
    pub(super) application: &'a Application,
}

impl Place<'_> {
    /// The text of a file.
    pub(super) fn text(&self, file: StarterFile) -> String {
        let name = self.name();
        match file {
            StarterFile::Ini => fill(
                include_str!("templates/unspool.ini"),
                &[("NAME", &name), ("IMPORTS", &self.imports())],
            ),
            StarterFile::Tasks => fill(include_str!("templates/tasks.py"), &[("NAME", &name)]),
            StarterFile::Unit => fill(
                include_str!("templates/unspool.service"),
                &[
                    ("NAME", &name.replace('%', "%%")),
                    ("USER", &self.user()),
                    ("DIRECTORY", &self.directory.to_string_lossy().replace('%', "%%")),
                    ("PROGRAM", &word_of_unit(self.program)),
                    ("PROTECT", self.protect()),
                ],
            ),
            StarterFile::Dockerfile => {
                let (requirements, install) = self.requirements();
                fill(
                    include_str!("templates/Dockerfile"),
                    &[
                        ("NAME", &name),
                        ("IMAGE", &self.image()),
                        ("PYTHON", &self.python()),
                        ("REQUIREMENTS", requirements),
                        ("INSTALL", install),
                    ],
                )
            }
        }
    }

    /// The folder's name, in one line.
    fn name(&self) -> String {
        let name = self.directory.file_name().unwrap_or("app".as_ref()).to_string_lossy();
        name.chars().filter(|c| !c.is_control() && *c != '\\' && *c != '"').collect()
    }

    /// The name of the image: what Docker takes.
    pub(super) fn image(&self) -> String {
        let name = self.name().to_ascii_lowercase();
        let kept = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
        let kept = kept.collect::<String>();
        let parts = kept.split('-').filter(|part| !part.is_empty());
        parts.chain(["tasks"]).collect::<Vec<_>>().join("-")
    }

    /// What is imported, and from where.
    fn imports(&self) -> String {
        let seen = self.application;
        let mut lines = Vec::new();
        let example = [Module { name: "tasks".to_owned(), in_src: false }];
        let modules = if seen.modules.is_empty() { &example[..] } else { &seen.modules };
        lines.push("; Where modules are imported from.".to_owned());
        let root = &seen.root;
        if modules.iter().any(|module| !module.in_src) || seen.django.is_some() {
            lines.push(format!("pythonpath = %d{root}"));
        }
        if modules.iter().any(|module| module.in_src) {
            lines.push(format!("pythonpath = %d{root}src"));
        }
        if seen.modules.is_empty() && !root.is_empty() {
            lines.push("pythonpath = %d".to_owned());
        }
        lines.push(String::new());
        if let Some(django) = &seen.django {
            lines.push("; Django, which is set up before tasks are imported.".to_owned());
            lines.push(format!("env = DJANGO_SETTINGS_MODULE={}", django.settings));
            lines.push(format!("module = {}", django.entry));
            lines.push(String::new());
        }
        lines.push("; The modules that have tasks.".to_owned());
        lines.extend(modules.iter().map(|module| format!("spooler-import = {}", module.name)));
        if let Some(web) = &seen.web {
            lines.push(format!(
                "; Once the web application has tasks, too:\n; spooler-import = {web}"
            ));
        }
        lines.push(String::new());
        if let Some(environment) = self.foreign_environment() {
            lines.push("; The application's packages, if they are not in unspool's own environment. unspool has to".to_owned());
            lines.push("; be installed in it as well.".to_owned());
            lines.push(format!("; virtualenv = %d{environment}\n"));
        }
        lines.join("\n")
    }

    /// A virtual environment of the folder that is not the one of this program.
    fn foreign_environment(&self) -> Option<String> {
        let path = self.application.environment.as_deref()?;
        if self.program.starts_with(folder::canonical(path).ok()?) {
            return None;
        }
        Some(path.file_name()?.to_string_lossy().into_owned())
    }

    /// Who runs it: who owns the folder.
    fn user(&self) -> String {
        let stat = folder::look(self.directory).ok().flatten();
        let uid = stat.map_or_else(host::uid, |stat| stat.owner);
        let known = user::by_number(uid).ok().flatten();
        let name = known.map_or_else(|| uid.to_string(), |user| user.name);
        let who = "# Who owns the spool, and submits.";
        if uid == 0 {
            format!(
                "{who} Better not root: a user of its own, who then has to own the folder.\nUser={name}"
            )
        } else {
            format!("{who}\nUser={name}")
        }
    }

    fn protect(&self) -> &'static str {
        let in_system = SYSTEM_FOLDERS.iter().any(|folder| self.directory.starts_with(folder));
        if in_system { "" } else { "ProtectSystem=full\n" }
    }

    fn requirements(&self) -> (&'static str, &'static str) {
        match self.application.requirements {
            Some(Requirements::File) => (
                "COPY requirements.txt /tmp/\nRUN pip install --no-cache-dir -r /tmp/requirements.txt\n",
                "",
            ),
            Some(Requirements::Project) => ("", "RUN pip install --no-cache-dir .\n"),
            None => ("# RUN pip install --no-cache-dir PACKAGE...\n", ""),
        }
    }

    /// The version of Python that this program was installed for.
    fn python(&self) -> String {
        let home = self.program.parent().and_then(Path::parent);
        let settings = home.and_then(|home| std::fs::read_to_string(home.join("pyvenv.cfg")).ok());
        let version = settings.as_deref().into_iter().flat_map(str::lines).find_map(|line| {
            let (key, value) = line.split_once('=')?;
            if !["version", "version_info"].contains(&key.trim()) {
                return None;
            }
            let mut numbers = value.trim().split('.');
            let (major, minor) = (numbers.next()?, numbers.next()?);
            [major, minor]
                .iter()
                .all(|number| number.parse::<u8>().is_ok())
                .then(|| format!("{major}.{minor}"))
        });
        version.unwrap_or_else(|| PYTHON_VERSION.to_owned())
    }
}

fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    // Once through, so that what is filled in is not looked at again.
    while let Some((before, marked)) = rest.split_once("{{") {
        let Some((key, after)) = marked.split_once("}}") else { break };
        text.push_str(before);
        text.extend(values.iter().find(|(name, _)| *name == key).map(|(_, value)| *value));
        rest = after;
    }
    text.push_str(rest);
    text
}

/// A word of a unit's command line.
fn word_of_unit(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@:".contains(c);
    if text.chars().all(plain) {
        return text.into_owned();
    }
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('%', "%%").replace('$', "$$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_in_once() {
        assert_eq!(fill("a {{X}} b {{Y}}", &[("X", "{{Y}}"), ("Y", "2")]), "a {{Y}} b 2");
    }

    #[test]
    fn words_of_units_are_quoted() {
        assert_eq!(word_of_unit(Path::new("/srv/a-1/bin/unspool")), "/srv/a-1/bin/unspool");
        assert_eq!(word_of_unit(Path::new("/srv/a b%/u")), "\"/srv/a b%%/u\"");
        assert_eq!(word_of_unit(Path::new("/srv/$(x)/u")), "\"/srv/$$(x)/u\"");
    }
}
