//! How much memory a process has, as the kernel counts it.

use std::io;

/// The memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Its address space: all that it has mapped.
    pub address_space: u64,
    /// What of it is in memory.
    pub resident: u64,
}

/// The memory of a process. A process that has ended has none.
pub fn memory(pid: u32) -> io::Result<Memory> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    };
    Ok(Memory {
        address_space: bytes("VmSize:").unwrap_or(0),
        resident: bytes("VmRSS:").unwrap_or(0),
    })
}

/// Bytes: the most memory that this process had at once since it began, or since [`reset_peak`].
pub fn peak() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Lets [`peak`] count anew, if the kernel can do that.
pub fn reset_peak() {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(file) = open("/proc/self/clear_refs", flags, Mode::empty()) {
        let _ = rustix::io::write(&file, b"5");
    }
}

/// How many processes of this machine the kernel has killed for want of memory since it started;
/// `None` where it does not say.
pub fn killed_for_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_mapped_than_is_in_memory() {
        let mine = memory(crate::host::pid()).unwrap();
        assert!(mine.resident > 100_000 && mine.address_space > mine.resident, "{mine:?}");
    }
}
