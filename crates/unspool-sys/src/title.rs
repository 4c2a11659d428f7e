//! The title of a process: what `ps` and `top` show of it.

use std::ffi::CString;

/// What the kernel keeps of a name beside the arguments.
const NAME_BYTES_MAX: usize = 15;

/// Names this process. The whole title stands where its arguments were, as far as there is room,
/// and its first 15 bytes are the name that `top` shows.
///
/// Nothing in the process may use its C arguments (`argv`) any more.
pub fn set(title: &[u8]) {
    set_name(title);
    if let Some((start, end)) = arguments() {
        overwrite(start, end, title);
    }
}

/// Names this process, or thread, where `top` looks: the first 15 bytes.
pub fn set_name(name: &[u8]) {
    let short = name[..name.len().min(NAME_BYTES_MAX)].trim_ascii_end();
    if let Ok(short) = CString::new(short) {
        // A process whose name stays is no reason to stop.
        let _ = rustix::thread::set_name(&short);
    }
}

/// Where the kernel says that this process's arguments lie.
fn arguments() -> Option<(usize, usize)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may have blanks; the fields behind it begin with number 3.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<usize>().ok();
    let (first, end) = (field(48)?, field(49)?);
    (first != 0 && first < end).then_some((first, end))
}

/// Writes text over the arguments, and zeros over the rest.
#[expect(unsafe_code, reason = "the arguments are memory that no safe code owns")]
fn overwrite(start: usize, end: usize, text: &[u8]) {
    let room = end - start;
    // The last byte stays zero: otherwise the kernel takes the environment for more of it.
    let used = text.len().min(room - 1);
    let target = std::ptr::with_exposed_provenance_mut::<u8>(start);
    // SAFETY: the kernel put the arguments of this process there when it started it, on the stack of
    // its first thread, which is writable and lives as long as the process; `used < room`.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), target, used);
        std::ptr::write_bytes(target.add(used), 0, room - used);
    }
}
