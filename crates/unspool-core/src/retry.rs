//! How often a task that failed runs again, and when; what one task asks for itself.

const HOUR_NS: i64 = 3600 * 1_000_000_000;

/// What becomes of tasks that fail, as a spool is configured.
///
/// A limit of 0 is none. No limit is above 255: the count of attempts is one byte of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Failed attempts of any kind after which a task that raised is buried.
    pub attempts_max: u8,
    /// Deaths of its worker after which a task is buried.
    pub deaths_max: u8,
    /// Failed attempts after which a task that asks to run again is buried.
    pub retries_max: u8,
    /// Nanoseconds between attempts.
    pub delay_ns: i64,
    /// The failed attempt from which on the delay doubles; 0: never.
    pub backoff_from: u8,
    /// Nanoseconds that the delay grows to.
    pub delay_max_ns: i64,
}

impl RetryPolicy {
    /// The policy of a spool where nothing is configured but the time between attempts.
    pub fn new(delay_ns: i64) -> Self {
        Self {
            attempts_max: 20,
            deaths_max: 5,
            retries_max: 0,
            delay_ns,
            backoff_from: 5,
            delay_max_ns: HOUR_NS,
        }
    }

    /// The policy for a task, which may ask for something else.
    #[must_use]
    pub fn with(mut self, task: &TaskPolicy) -> Self {
        let ns = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        self.attempts_max = task.attempts.unwrap_or(self.attempts_max);
        self.deaths_max = task.deaths.unwrap_or(self.deaths_max);
        self.retries_max = task.retries.unwrap_or(self.retries_max);
        self.delay_ns = task.delay_ms.map_or(self.delay_ns, ns);
        self.backoff_from = task.backoff_from.unwrap_or(self.backoff_from);
        self.delay_max_ns = task.delay_max_ms.map_or(self.delay_max_ns, ns);
        self
    }

    /// Nanoseconds until the next attempt after so many failed ones. From `backoff_from` on it
    /// doubles with each, and `random` moves it by up to a quarter either way, so that tasks that
    /// failed together do not come back together.
    pub fn delay_after(&self, attempts: u8, random: u32) -> i64 {
        let doublings = match self.backoff_from {
            0 => 0,
            from => u32::from(attempts.saturating_add(1).saturating_sub(from)),
        };
        if doublings == 0 {
            return self.delay_ns;
        }
        let most = self.delay_max_ns.max(self.delay_ns);
        let grown = self.delay_ns.saturating_mul(1i64 << doublings.min(32)).min(most);
        let share = i64::from(random) - i64::from(u32::MAX / 2);
        let jitter = (i128::from(grown / 4) * i128::from(share) / i128::from(u32::MAX / 2)) as i64;
        grown.saturating_add(jitter).clamp(self.delay_ns, most)
    }
}

/// What a task asks for itself; it stands in our own pair of its file. `None`: as the spool says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskPolicy {
    /// As [`RetryPolicy::attempts_max`].
    pub attempts: Option<u8>,
    /// As [`RetryPolicy::deaths_max`].
    pub deaths: Option<u8>,
    /// As [`RetryPolicy::retries_max`].
    pub retries: Option<u8>,
    /// As [`RetryPolicy::delay_ns`], in milliseconds.
    pub delay_ms: Option<u64>,
    /// As [`RetryPolicy::backoff_from`].
    pub backoff_from: Option<u8>,
    /// As [`RetryPolicy::delay_max_ns`], in milliseconds.
    pub delay_max_ms: Option<u64>,
    /// After so many milliseconds an exception is raised in the task.
    pub soft_limit_ms: Option<u64>,
    /// After so many milliseconds its worker is killed.
    pub time_limit_ms: Option<u64>,
    /// Milliseconds since 1970: if it has not started by then, it is buried.
    pub expires_ms: Option<u64>,
}

impl TaskPolicy {
    /// Whether it is too late to start the task.
    pub fn is_expired(&self, now_ns: i64) -> bool {
        let now = u64::try_from(now_ns / 1_000_000).unwrap_or(0);
        self.expires_ms.is_some_and(|expires_ms| expires_ms < now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;

    #[test]
    fn from_the_fifth_attempt_on_the_delay_doubles_up_to_an_hour() {
        let policy = RetryPolicy::new(30 * SECOND_NS);
        let middle = |attempts| policy.delay_after(attempts, u32::MAX / 2) / SECOND_NS;
        let delays: Vec<i64> = (1..=13).map(middle).collect();
        assert_eq!(
            delays,
            [30, 30, 30, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600],
            "seconds after each attempt"
        );
        assert_eq!(middle(255), 3600);
    }

    #[test]
    fn jitter_is_a_quarter_and_never_leaves_the_bounds() {
        let policy = RetryPolicy::new(30 * SECOND_NS);
        assert_eq!(policy.delay_after(6, 0) / SECOND_NS, 90);
        assert_eq!(policy.delay_after(6, u32::MAX) / SECOND_NS, 150);
        assert_eq!(policy.delay_after(5, 0) / SECOND_NS, 45);
        for random in [0, 1, u32::MAX / 2, u32::MAX - 1, u32::MAX] {
            for attempts in 0..=255 {
                let delay_ns = policy.delay_after(attempts, random);
                assert!((30 * SECOND_NS..=HOUR_NS).contains(&delay_ns), "{attempts} {random}");
            }
        }
        let slow = RetryPolicy::new(2 * HOUR_NS);
        assert_eq!(slow.delay_after(9, u32::MAX), 2 * HOUR_NS);
        let steady = RetryPolicy { backoff_from: 0, ..policy };
        assert_eq!(steady.delay_after(200, 7), 30 * SECOND_NS);
    }

    #[test]
    fn a_task_asks_for_itself() {
        let task = TaskPolicy { deaths: Some(1), delay_ms: Some(1500), ..TaskPolicy::default() };
        let policy = RetryPolicy::new(SECOND_NS).with(&task);
        let expect =
            RetryPolicy { deaths_max: 1, delay_ns: 1_500_000_000, ..RetryPolicy::new(SECOND_NS) };
        assert_eq!(policy, expect);
    }

    #[test]
    fn a_task_expires_after_its_time_and_not_at_it() {
        let task = TaskPolicy { expires_ms: Some(5_000), ..TaskPolicy::default() };
        assert!(!task.is_expired(5_000_999_999));
        assert!(task.is_expired(5_001_000_000));
        assert!(!TaskPolicy::default().is_expired(i64::MAX));
    }
}
