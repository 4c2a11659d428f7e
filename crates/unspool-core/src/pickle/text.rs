//! The text of protocol 0: numbers and strings in lines.

use std::fmt::Write as _;

/// An int in decimal digits; those that are too large stay digits.
pub(super) fn decimal(line: &[u8]) -> Option<Result<i128, String>> {
    let text = std::str::from_utf8(line).ok()?.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().map_err(|_| text.to_owned()))
}

/// A string between quotes, with Python's escapes.
pub(super) fn quoted(line: &[u8]) -> Option<Vec<u8>> {
    let (quote, rest) = line.trim_ascii().split_first()?;
    let inner = rest.strip_suffix(&[*quote]).filter(|_| matches!(quote, b'\'' | b'"'))?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next()? {
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b't' => bytes.push(b'\t'),
            b'x' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            other @ (b'\\' | b'\'' | b'"') => bytes.push(other),
            other => bytes.extend([b'\\', other]),
        }
    }
    Some(bytes)
}

/// Text in Latin-1 with `\uXXXX` and `\UXXXXXXXX`.
pub(super) fn raw_unicode(line: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(line.len());
    let mut at = 0;
    while let Some(byte) = line.get(at) {
        let digits = match (byte, line.get(at + 1)) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                text.push(char::from(*byte));
                at += 1;
                continue;
            }
        };
        let code = std::str::from_utf8(line.get(at + 2..at + 2 + digits)?).ok()?;
        let code = u32::from_str_radix(code, 16).ok()?;
        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        at += 2 + digits;
    }
    Some(text)
}

/// An int in two's complement, the lowest byte first.
pub(super) fn little_endian(bytes: &[u8]) -> Result<i128, String> {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    if bytes.len() <= 16 {
        let mut wide = [if negative { 0xff } else { 0 }; 16];
        wide[..bytes.len()].copy_from_slice(bytes);
        return Ok(i128::from_le_bytes(wide));
    }
    // The digits of its absolute value.
    let mut carry = u16::from(negative);
    let mut size = Vec::with_capacity(bytes.len());
    for byte in bytes {
        let sum = u16::from(if negative { !byte } else { *byte }) + carry;
        size.push((sum & 0xff) as u8);
        carry = sum >> 8;
    }
    let digits = size.iter().rev().fold(String::new(), |mut digits, byte| {
        // Writing into a String cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    });
    let digits = digits.trim_start_matches('0');
    Err(format!("{}0x{digits}", if negative { "-" } else { "" }))
}
