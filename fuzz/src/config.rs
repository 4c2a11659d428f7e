//! Configurations out of bytes: whatever they are, reading ends with settings or with a message.

use std::ffi::OsString;
use std::sync::OnceLock;

use unspool_config::{Environment, Sources, load};

use crate::memory::bounded;
use crate::scratch;

/// Above what the limits of the reader allow for a whole configuration.
const BYTES_MAX: usize = 512 << 20;

/// Reads a file of this ending.
pub fn file(ending: &str, content: &[u8]) {
    let name = format!("app.{ending}");
    let environment = environment().clone();
    scratch::write(&name, content);
    read(Sources { args: vec![format!("--{ending}").into(), name.into()], environment });
}

/// Reads arguments, a line each.
pub fn arguments(lines: &str) {
    let args = lines.split('\n').map(OsString::from).collect();
    read(Sources { args, environment: environment().clone() });
}

fn read(sources: Sources) {
    bounded(BYTES_MAX, || match load(&sources) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(loaded) => {
            for notice in &loaded.notices {
                let _ = notice.to_string();
            }
            for setting in &loaded.settings {
                let _ = setting.shown();
            }
            let _ = (loaded.config.opt(), loaded.config.shared_state());
        }
    });
}

/// The same for every input, with files that one may name.
fn environment() -> &'static Environment {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        scratch::write("part.ini", b"[uwsgi]\nmaster = true\n[part]\nenv = A=%(_)\n");
        scratch::write("lines.txt", b"one\ntwo\n");
        Environment::from_pairs([("HOME", "/nonexistent"), ("A", "b")])
            .with_current_directory(scratch::folder())
            .with_hostname("vm")
    })
}
