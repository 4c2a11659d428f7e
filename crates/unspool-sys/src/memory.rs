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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_mapped_than_is_in_memory() {
        let mine = memory(crate::host::pid()).unwrap();
        assert!(mine.resident > 100_000 && mine.address_space > mine.resident, "{mine:?}");
    }
}
