//! The options about what is watched besides the spools.

use std::path::Path;
use std::time::Duration;

use unspool_config::{ConfigError, Notice, TouchAction, Watched};

use crate::load_ini;

fn watched(lines: &str) -> Watched {
    load_ini(lines).unwrap().config.watched
}

#[test]
fn touches_keep_their_order_and_their_paths_follow_chdir() {
    let watched = watched(
        "touch-exec = a  echo x ; echo y # z\nchdir = /srv\ntouch-signal = /b 7 # seven\n\
         touch-chain-reload = c # the code\nfs-reload = d\ntouch-logreopen = e\n\
         touch-logrotate = g\nmaster-fifo = f\n",
    );
    let touches: Vec<_> =
        watched.touches.iter().map(|t| (t.option, t.path.to_str().unwrap(), &t.action)).collect();
    assert_eq!(
        touches,
        [
            ("touch-exec", "/srv/a", &TouchAction::Exec("echo x ; echo y # z".to_owned())),
            ("touch-signal", "/b", &TouchAction::Signal(7)),
            ("touch-chain-reload", "/srv/c", &TouchAction::Reload),
            ("fs-reload", "/srv/d", &TouchAction::Reload),
            ("touch-logreopen", "/srv/e", &TouchAction::ReopenLog),
            ("touch-logrotate", "/srv/g", &TouchAction::RotateLog),
        ]
    );
    assert_eq!(watched.master_fifos, [Path::new("/srv/f")]);
}

#[test]
fn what_is_missing_does_nothing() {
    for option in ["touch-exec = /a", "touch-signal = /a", "touch-reload ="] {
        let loaded = load_ini(&format!("{option}\n")).unwrap();
        assert!(loaded.config.watched.touches.is_empty(), "{option}");
        assert!(matches!(loaded.notices[..], [Notice::NoEffect { .. }]), "{option}");
    }
}

#[test]
fn what_cannot_be_meant_is_an_error() {
    let fifos = "master-fifo = /f\n".repeat(11);
    for lines in ["touch-signal = /a 256\n", "touch-signal = /a x\n", &fifos] {
        let error = load_ini(lines).unwrap_err();
        assert!(matches!(error, ConfigError::InvalidValue { .. }), "{error}");
    }
}

#[test]
fn autoreload_by_each_of_its_names() {
    for name in ["py-autoreload", "py-auto-reload", "python-autoreload", "python-auto-reload"] {
        let watched = watched(&format!("{name} = 2\npy-auto-reload-ignore = a.b\n"));
        assert_eq!(watched.autoreload, Some(Duration::from_secs(2)), "{name}");
        assert_eq!(watched.autoreload_ignore, ["a.b"]);
    }
    assert_eq!(watched("py-autoreload = 2\npython-autoreload = 0\n").autoreload, None);
}
