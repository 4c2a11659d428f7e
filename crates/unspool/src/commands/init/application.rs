//! What can be seen of an application from outside: which modules have tasks, what has to be imported
//! before them, how its requirements are named. Reads files and runs nothing of them.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// How far down and at how many entries it looks. An application that is larger names the rest itself.
const DEPTH_MAX: usize = 5;
const ENTRIES_MAX: usize = 20_000;
/// Modules that are named.
const MODULES_MAX: usize = 32;
/// What is read of a module: imports and decorators come early.
const SOURCE_BYTES_MAX: u64 = 256 << 10;

/// Folders that have no code of the application's own.
const OTHER_FOLDERS: [&str; 9] = [
    "__pycache__",
    "build",
    "dist",
    "docs",
    "migrations",
    "node_modules",
    "site-packages",
    "test",
    "tests",
];
/// Files that are programs, not modules.
const PROGRAMS: [&str; 4] = ["conftest", "manage", "noxfile", "setup"];
/// Where a web application usually is.
const WEB_FILES: [&str; 5] = ["wsgi.py", "app.py", "main.py", "asgi.py", "application.py"];

/// A module that can be imported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Module {
    pub(super) name: String,
    /// It lies in `src/`.
    pub(super) in_src: bool,
}

/// Django, which has to be set up before tasks are imported.
#[derive(Debug)]
pub(super) struct Django {
    pub(super) settings: String,
    /// The module whose import sets it up, with its callable.
    pub(super) entry: String,
}

/// What sets Django up where the project has no module that does.
const DJANGO_SETUP: &str = "django:setup()";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Requirements {
    /// `requirements.txt`.
    File,
    /// `pyproject.toml` of something that can be installed.
    Project,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Application {
    pub(super) django: Option<Django>,
    /// The folder in the folder that the application's modules are imported from, with its `/`; empty:
    /// that itself.
    pub(super) root: String,
    /// Those with tasks, by name.
    pub(super) modules: Vec<Module>,
    /// A function of them that is a task.
    pub(super) function: Option<String>,
    /// A web application that has no task.
    pub(super) web: Option<String>,
    pub(super) requirements: Option<Requirements>,
    /// A virtual environment in the folder.
    pub(super) environment: Option<PathBuf>,
}

impl Application {
    /// Looks at a folder. What cannot be read is not seen.
    pub(super) fn seen_in(directory: &Path) -> Self {
        let root = django_folder(directory);
        let top = root.as_ref().map_or_else(|| directory.to_owned(), |name| directory.join(name));
        let mut walk = Walk { top: &top, left: ENTRIES_MAX, found: Vec::new(), environment: None };
        walk.folder(directory, 0);
        let Walk { mut found, environment, .. } = walk;
        let mut application = Self { environment, ..Self::default() };
        application.django = django(&top);
        application.root = root.map(|name| format!("{name}/")).unwrap_or_default();
        application.requirements = requirements(directory);
        found.sort_by(|a, b| a.module.cmp(&b.module));
        if found.iter().any(|source| source.has_tasks) {
            found.retain(|source| source.has_tasks);
        } else {
            // None says that it has tasks; a name does.
            found.retain(Source::is_named_tasks);
        }
        application.function = found.iter().find_map(|source| source.function.clone());
        application.modules =
            found.into_iter().map(|source| source.module).take(MODULES_MAX).collect();
        if application.modules.is_empty() && application.django.is_none() {
            application.web = web(directory);
        }
        application
    }
}

/// A source file that may be imported.
struct Source {
    module: Module,
    has_tasks: bool,
    function: Option<String>,
}

impl Source {
    fn is_named_tasks(&self) -> bool {
        self.module.name.rsplit('.').next() == Some("tasks")
    }
}

struct Walk<'a> {
    top: &'a Path,
    left: usize,
    found: Vec<Source>,
    environment: Option<PathBuf>,
}

impl Walk<'_> {
    fn folder(&mut self, path: &Path, depth: usize) {
        let Ok(entries) = fs::read_dir(path) else { return };
        for entry in entries.flatten() {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            let (path, name) = (entry.path(), entry.file_name());
            // Links are not followed: they may lead round in a circle.
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_file() {
                self.found.extend(self.source(&path));
            } else if kind.is_dir() && path.join("pyvenv.cfg").exists() {
                if depth == 0 {
                    self.environment.get_or_insert(path);
                }
            } else if kind.is_dir() && depth < DEPTH_MAX && may_have_code(&path, &name) {
                self.folder(&path, depth + 1);
            }
        }
    }

    fn source(&self, path: &Path) -> Option<Source> {
        let module = module_of(self.top, path)?;
        // What a text of a module says is not what it does.
        let text = without_texts(&read(path)?);
        let has_tasks = text.lines().any(makes_tasks);
        let function = has_tasks.then(|| task_function(&text)).flatten();
        Some(Source { module, has_tasks, function })
    }
}

fn may_have_code(path: &Path, name: &OsStr) -> bool {
    let known =
        name.to_str().is_some_and(|name| !name.starts_with('.') && !OTHER_FOLDERS.contains(&name));
    // A spool's tasks are no code.
    known && !path.join(".unspool").exists()
}

/// The name by which a file of Python is imported, if it has one.
fn module_of(top: &Path, path: &Path) -> Option<Module> {
    if path.extension()? != "py" {
        return None;
    }
    let relative = path.strip_prefix(top).ok()?.with_extension("");
    let parts = relative.components().map(|part| match part {
        Component::Normal(name) => name.to_str().filter(|name| is_identifier(name)),
        _ => None,
    });
    let mut parts = parts.collect::<Option<Vec<_>>>()?;
    let in_src = parts.len() > 1 && parts[0] == "src" && !top.join("src/__init__.py").exists();
    if in_src {
        parts.remove(0);
    }
    let last = *parts.last()?;
    if last.starts_with("test_") || PROGRAMS.contains(&last) {
        return None;
    }
    if last == "__init__" {
        parts.pop();
    }
    (!parts.is_empty()).then(|| Module { name: parts.join("."), in_src })
}

fn is_identifier(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(SOURCE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A module without comments and what stands in its texts.
fn without_texts(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find(['#', '"', '\'']) {
        code.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('#') {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
            continue;
        }
        let quotes = ["\"\"\"", "'''", "\"", "'"];
        let quote = quotes.into_iter().find(|quote| rest.starts_with(quote)).unwrap_or("'");
        let text = &rest[quote.len()..];
        let end = end_of_text(text, quote);
        code.push_str(quote);
        // Lines stay lines.
        code.extend(text[..end].matches('\n'));
        code.push_str(quote);
        rest = &text[end..];
        rest = rest.strip_prefix(quote).unwrap_or(rest);
    }
    code.push_str(rest);
    code
}

/// Where a text ends that has begun with this quote.
fn end_of_text(text: &str, quote: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if !escaped && (text[at..].starts_with(quote) || (c == '\n' && quote.len() == 1)) {
            return at;
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

/// Whether a line of a module says that it has task functions or a handler of its own.
fn makes_tasks(line: &str) -> bool {
    let line = line.trim_start();
    let imports = line.starts_with("from ") || line.starts_with("import ");
    let handler =
        line.strip_prefix("uwsgi.spooler").is_some_and(|rest| rest.trim_start().starts_with('='));
    (imports && (line.contains("uwsgidecorators") || line.contains("uwsgi_tasks"))) || handler
}

/// The first function under `@spool`.
fn task_function(text: &str) -> Option<String> {
    let mut decorated = false;
    for line in text.lines() {
        let line = line.trim();
        if let Some(decorator) = line.strip_prefix('@') {
            let decorator = decorator.strip_prefix("uwsgidecorators.").unwrap_or(decorator);
            decorated |= decorator.split(['(', ' ', '#']).next() == Some("spool");
        } else if let Some(rest) = line.strip_prefix("async ").unwrap_or(line).strip_prefix("def ")
        {
            if decorated {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
                return Some(rest[..end].to_owned());
            }
        } else if line.starts_with("class ") {
            decorated = false;
        }
    }
    None
}

/// The folder of the folder that has Django's `manage.py`, if it is the only one and there is none above.
fn django_folder(directory: &Path) -> Option<String> {
    if directory.join("manage.py").is_file() {
        return None;
    }
    let plain = |name: &String| {
        name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
            && !OTHER_FOLDERS.contains(&name.as_str())
    };
    let mut found = fs::read_dir(directory)
        .ok()?
        .take(ENTRIES_MAX)
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| plain(name) && django(&directory.join(name)).is_some());
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

fn django(directory: &Path) -> Option<Django> {
    let manage = read(&directory.join("manage.py"))?;
    let (_, rest) = manage.split_once("DJANGO_SETTINGS_MODULE")?;
    // The next text in quotes, behind the closing quote of the name.
    let settings = rest.split(['"', '\'']).nth(2)?.to_owned();
    if settings.is_empty() || !settings.split('.').all(is_identifier) {
        return None;
    }
    let package = settings.split('.').next().unwrap_or_default();
    let entry = ["wsgi", "asgi"]
        .iter()
        .find(|name| directory.join(package).join(format!("{name}.py")).exists())
        .map(|name| format!("{package}.{name}:application"));
    Some(Django { settings, entry: entry.unwrap_or_else(|| DJANGO_SETUP.to_owned()) })
}

fn requirements(directory: &Path) -> Option<Requirements> {
    if directory.join("requirements.txt").is_file() {
        return Some(Requirements::File);
    }
    let project = read(&directory.join("pyproject.toml"))?;
    let installed = |line: &str| ["[project]", "[build-system]"].contains(&line.trim());
    project.lines().any(installed).then_some(Requirements::Project)
}

fn web(directory: &Path) -> Option<String> {
    let makes = |text: &str| {
        ["Flask(", "FastAPI(", "Starlette(", "application =", "app ="]
            .iter()
            .any(|made| text.contains(made))
    };
    let found = WEB_FILES
        .iter()
        .find(|name| read(&directory.join(name)).is_some_and(|text| makes(&text)))?;
    Some(found.trim_end_matches(".py").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_task_function() {
        let text = "@timer(3)\ndef tick(n): pass\n@spool(\n    pass_arguments=True,\n)\n@other\nasync def send(a):\n";
        assert_eq!(task_function(text).as_deref(), Some("send"));
        assert_eq!(task_function("@spooler\ndef no(): pass\n"), None);
        assert_eq!(
            task_function("@uwsgidecorators.spool\ndef yes(a): pass\n").as_deref(),
            Some("yes")
        );
    }

    #[test]
    fn lines_that_make_tasks() {
        for line in [
            "from uwsgidecorators import spool",
            "import os, uwsgidecorators",
            "uwsgi.spooler = run",
        ] {
            assert!(makes_tasks(line), "{line}");
        }
        for line in ["# from uwsgidecorators import spool", "uwsgi.spooler_jobs()", "x = 1"] {
            assert!(!makes_tasks(line), "{line}");
        }
    }

    #[test]
    fn texts_and_comments_are_no_code() {
        let text = "\"\"\"Use it so:\n\nfrom uwsgidecorators import spool\n\"\"\"\nx = 'it\\'s' # '\ny = \"#\"\n";
        let code = without_texts(text);
        assert!(!code.lines().any(makes_tasks), "{code}");
        assert_eq!(code.lines().count(), text.lines().count());
        let real = "s = '''a'''\nfrom uwsgidecorators import spool  # '\n@spool\ndef f(a): 'it'\n";
        let code = without_texts(real);
        assert!(code.lines().any(makes_tasks), "{code}");
        assert_eq!(task_function(&code).as_deref(), Some("f"));
        for cut in ["'''open", "'open", "\"", "#", "'\\", "'ä\nb"] {
            without_texts(cut);
        }
    }

    #[test]
    fn names_of_modules() {
        let name =
            |path: &str| module_of(Path::new("/t"), Path::new(path)).map(|module| module.name);
        assert_eq!(name("/t/a/b.py").as_deref(), Some("a.b"));
        assert_eq!(name("/t/a/__init__.py").as_deref(), Some("a"));
        assert_eq!(name("/t/src/a/tasks.py").as_deref(), Some("a.tasks"));
        for path in ["/t/a-b/c.py", "/t/a.txt", "/t/test_a.py", "/t/__init__.py", "/t/manage.py"] {
            assert_eq!(name(path), None, "{path}");
        }
    }
}
