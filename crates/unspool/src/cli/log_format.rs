//! `--log-format` of `unspool run`.

use std::ffi::OsString;

/// `--log-format json` on the command line is ours. In files, and with other values, it is uWSGI's, of
/// lines about requests.
pub(crate) fn own_log_format(args: Vec<OsString>) -> Vec<OsString> {
    let ours = |format: &str| match format {
        "json" => Some("json"),
        "human" => Some("unspool"),
        _ => None,
    };
    let mut out: Vec<OsString> = Vec::with_capacity(args.len());
    for arg in args {
        let text = arg.to_str().unwrap_or_default();
        if out.last().is_some_and(|last| last == "--log-format")
            && let Some(format) = ours(text)
        {
            out.pop();
            out.push(format!("--spooler-log-format={format}").into());
        } else if let Some(format) = text.strip_prefix("--log-format=").and_then(ours) {
            out.push(format!("--spooler-log-format={format}").into());
        } else {
            out.push(arg);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_of_ours_is_ours() {
        for (given, wanted) in [
            ("--log-format json", "--spooler-log-format=json"),
            ("--log-format=human a.ini", "--spooler-log-format=unspool a.ini"),
            ("--log-format %(uri) x", "--log-format %(uri) x"),
            ("json --log-format", "json --log-format"),
        ] {
            let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
            assert_eq!(own_log_format(words(given)), words(wanted));
        }
    }
}
