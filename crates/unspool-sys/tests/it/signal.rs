//! Signals as events, in a process of their own.

use std::process::Command;

use unspool_sys::process::Child;

use crate::child::{self, forking};

#[test]
fn signals_become_events() {
    let target = child::Child::start("signals", &[]);
    let pid = target.hear();
    for (signal, expect) in [
        ("TERM", "Stop"),
        // What means nothing does not end the process.
        ("USR2", ""),
        ("ALRM", ""),
        ("PIPE", ""),
        ("WINCH", ""),
        ("HUP", "Reload"),
        ("INT", "Stop"),
        ("QUIT", "Quit"),
        ("USR1", "State"),
        ("TSTP", "Pause"),
        ("CHLD", "ChildEnded"),
    ] {
        let status = {
            let _forking = forking();
            Command::new("kill").args(["-s", signal, &pid]).status()
        };
        assert!(status.unwrap().success());
        if !expect.is_empty() {
            assert_eq!(target.hear(), expect);
        }
    }
    Child::open(pid.parse().unwrap()).unwrap().terminate();
    assert_eq!(target.hear(), "Stop");
}
