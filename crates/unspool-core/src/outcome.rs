//! What a run of a task came to, in uWSGI's words.

/// Return code of a handler that finished its task.
pub const SPOOL_OK: i64 = -2;
/// Return code of a handler that wants to run again.
pub const SPOOL_RETRY: i64 = -1;
/// Return code of a handler that does not know the task.
pub const SPOOL_IGNORE: i64 = 0;

/// The outcome of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Finished: the file is deleted.
    Done,
    /// Asked to run again later, without limit.
    Retry,
    /// Left where it is, not counted.
    Ignored,
    /// The function is not registered: left where it is, not counted.
    UnknownFunction,
    /// An exception, or a result that is not an int: a failed attempt.
    Failed,
    /// The file does not parse.
    Malformed,
    /// The file is not signed as it has to be. It was not parsed.
    Refused,
    /// An exception told it that its time was over, and it ended: a failed attempt.
    TimedOut,
    /// Somebody cancelled it, and it ended in any other way than done: the file is deleted.
    Cancelled,
}

impl Outcome {
    /// The outcome of a handler that returned an int: `SPOOL_OK` and `SPOOL_IGNORE` mean what
    /// they say, any other int is a retry (uWSGI 2.0.31 runs all of those again).
    pub fn from_code(code: i64) -> Self {
        match code {
            SPOOL_OK => Self::Done,
            SPOOL_IGNORE => Self::Ignored,
            _ => Self::Retry,
        }
    }

    /// The byte that stands for the outcome in the worker protocol.
    pub fn to_byte(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Retry => 1,
            Self::Ignored => 2,
            Self::UnknownFunction => 3,
            Self::Failed => 4,
            Self::Malformed => 5,
            Self::Refused => 6,
            Self::TimedOut => 7,
            Self::Cancelled => 8,
        }
    }

    /// The reverse of [`Outcome::to_byte`].
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Done,
            1 => Self::Retry,
            2 => Self::Ignored,
            3 => Self::UnknownFunction,
            4 => Self::Failed,
            5 => Self::Malformed,
            6 => Self::Refused,
            7 => Self::TimedOut,
            8 => Self::Cancelled,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_they_mean_in_uwsgi() {
        for (code, expect) in [
            (-2, Outcome::Done),
            (-1, Outcome::Retry),
            (0, Outcome::Ignored),
            (1, Outcome::Retry),
            (i64::MAX, Outcome::Retry),
        ] {
            assert_eq!(Outcome::from_code(code), expect, "{code}");
        }
    }

    #[test]
    fn bytes_round_trip() {
        for byte in 0..=255u8 {
            if let Some(outcome) = Outcome::from_byte(byte) {
                assert_eq!(outcome.to_byte(), byte);
            }
        }
    }
}
