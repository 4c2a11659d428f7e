//! The keys with which task files are signed: their text form, and the MAC that each makes.
//!
//! Where a signature stands in a file and which bytes it covers is `taskfile`'s matter, where the
//! keys lie `unspool-spool`'s. No secret is ever shown, in a message or a `Debug` form.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::limits::{KEY_NAME_BYTES_MAX, SIGNING_KEY_BYTES_MIN, SIGNING_KEYS_MAX};

/// Bytes of a MAC.
pub const MAC_BYTES: usize = 32;

/// A text that gives no keys. It never quotes the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKeys {
    /// A line that is no key.
    #[error("line {line}: {problem}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong, and what to write.
        problem: &'static str,
    },
    /// There is no key at all.
    #[error("there is no key in it: write a line `NAME KEY`, the key as `openssl rand -hex 32`")]
    Empty,
}

/// A key and its name. Its secret is kept in the form that makes MACs.
#[derive(Clone)]
pub struct SigningKey {
    name: Vec<u8>,
    mac: Hmac<Sha256>,
}

impl SigningKey {
    /// The name, printable ASCII.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The MAC over these parts, each with its length in front, so that no byte can move from one
    /// part to the next.
    fn over(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac
    }

    /// The MAC over these parts. The first one says what for, so that it is no MAC of other things.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        self.over(parts).finalize().into_bytes().into()
    }

    /// Begins the MAC over these parts and one more, of so many bytes, that comes in pieces.
    pub(crate) fn begin(&self, parts: &[&[u8]], last_bytes: u64) -> Signing {
        let mut mac = self.over(parts);
        mac.update(&last_bytes.to_le_bytes());
        Signing(mac)
    }

    /// A key of the same name that is made from this one and these parts, as `sign` takes them.
    #[must_use]
    pub fn derive(&self, parts: &[&[u8]]) -> Self {
        let secret = self.sign(parts);
        // HMAC takes keys of any length: the other arm is never taken.
        let mac = Hmac::new_from_slice(&secret).unwrap_or_else(|_| self.over(parts));
        Self { name: self.name.clone(), mac }
    }

    /// Whether this is the MAC over these parts, compared in constant time.
    pub fn is_mac(&self, parts: &[&[u8]], mac: &[u8; MAC_BYTES]) -> bool {
        self.over(parts).verify_slice(mac).is_ok()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&String::from_utf8_lossy(&self.name)).finish()
    }
}

/// A MAC whose last part is still coming.
pub(crate) struct Signing(Hmac<Sha256>);

impl Signing {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> [u8; MAC_BYTES] {
        self.0.finalize().into_bytes().into()
    }

    /// Whether it is this one, compared in constant time.
    pub(crate) fn is(self, mac: &[u8; MAC_BYTES]) -> bool {
        self.0.verify_slice(mac).is_ok()
    }
}

/// Never shows a secret.
impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signing")
    }
}

/// One key or more: the first signs, all verify.
#[derive(Debug, Clone)]
pub struct Keyring {
    first: SigningKey,
    others: Vec<SigningKey>,
}

impl Keyring {
    /// Reads lines of `NAME KEY`, the key of at least 32 bytes as hexadecimal digits or as base64.
    /// Empty lines and lines that begin with `#` are left out.
    ///
    /// ```
    /// use unspool_core::signing::Keyring;
    ///
    /// let keys = Keyring::parse(b"web-2 8f0c66e9b1f5a1a2c5f3a1de2b1b70c5e5b7a6a57e4d4d5ff2d5f50f7d8b7d41\n")?;
    /// assert_eq!(keys.first().name(), b"web-2");
    /// # Ok::<(), unspool_core::signing::InvalidKeys>(())
    /// ```
    pub fn parse(text: &[u8]) -> Result<Self, InvalidKeys> {
        let mut keys: Vec<SigningKey> = Vec::new();
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let key = read_line(line)
                .and_then(|key| match keys.iter().any(|other| other.name == key.name) {
                    true => Err("another line has a key of this name: give each its own"),
                    false if keys.len() == SIGNING_KEYS_MAX => {
                        Err("these are too many keys: remove old ones")
                    }
                    false => Ok(key),
                })
                .map_err(|problem| InvalidKeys::Line { line: number + 1, problem })?;
            keys.push(key);
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or(InvalidKeys::Empty)?;
        Ok(Self { first, others: keys.collect() })
    }

    /// The key that signs.
    pub fn first(&self) -> &SigningKey {
        &self.first
    }

    /// The key of this name.
    pub fn find(&self, name: &[u8]) -> Option<&SigningKey> {
        std::iter::once(&self.first).chain(&self.others).find(|key| key.name == name)
    }
}

fn read_line(line: &[u8]) -> Result<SigningKey, &'static str> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (Some(name), Some(key), None) = (words.next(), words.next(), words.next()) else {
        return Err("write `NAME KEY`, with a blank in between and nothing behind");
    };
    if !is_key_name(name) {
        return Err("the key's name comes first, of 1 to 32 letters, digits, `.`, `_` and `-`");
    }
    let secret = from_hex(key).or_else(|| from_base64(key));
    let secret = secret.ok_or("the key is neither hexadecimal digits nor base64")?;
    if secret.len() < SIGNING_KEY_BYTES_MIN {
        return Err("the key has less than 32 bytes: make one with `openssl rand -hex 32`");
    }
    let mac =
        Hmac::new_from_slice(&secret).map_err(|_| "the key has a length that HMAC refuses")?;
    Ok(SigningKey { name: name.to_vec(), mac })
}

/// Whether a name can stand in a key file and in a task file.
pub(crate) fn is_key_name(name: &[u8]) -> bool {
    (1..=KEY_NAME_BYTES_MAX).contains(&name.len())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let value = |digit: u8| char::from(digit).to_digit(16);
    pairs.iter().map(|[high, low]| Some((value(*high)? * 16 + value(*low)?) as u8)).collect()
}

/// The usual alphabet or that of URLs, with or without `=` at the end.
fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let (digits, padding) = text.split_at(end);
    if digits.len() % 4 == 1 || padding.len() > (4 - digits.len() % 4) % 4 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // What is left over of the last digit is zero in all that an encoder writes.
    (bits == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn the_mac_is_hmac_sha256() {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"Jefe").unwrap();
        mac.update(b"what do ya want for nothing?");
        let expected =
            from_hex(b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843").unwrap();
        assert_eq!(mac.finalize().into_bytes().as_slice(), expected);
    }

    #[test]
    fn parts_cannot_be_shifted() {
        let keys = Keyring::parse(&[b"a ", &[b'0'; 64][..]].concat()).unwrap();
        let mac = keys.first().sign(&[b"ab", b"c"]);
        assert!(keys.first().is_mac(&[b"ab", b"c"], &mac));
        for other in [&[&b"a"[..], b"bc"][..], &[b"abc"], &[b"ab", b"c", b""]] {
            assert!(!keys.first().is_mac(other, &mac));
        }
    }

    #[test]
    fn base64_and_hexadecimal_digits_are_read() {
        assert_eq!(from_hex(b"00fF7a").unwrap(), [0, 0xff, 0x7a]);
        assert_eq!(from_hex(b"00f"), None);
        for (text, bytes) in [
            (&b""[..], &b""[..]),
            (b"Zg==", b"f"),
            (b"Zg", b"f"),
            (b"Zm8=", b"fo"),
            (b"Zm9v", b"foo"),
            (b"+/+/", b"\xfb\xff\xbf"),
            (b"-_-_", b"\xfb\xff\xbf"),
        ] {
            assert_eq!(from_base64(text).as_deref(), Some(bytes), "{text:?}");
        }
        for text in [&b"Z"[..], b"Zh", b"Zm9v=", b"Zg===", b"Zm 9", b"Zm9v\xff", b"=", b"Z=9v"] {
            assert_eq!(from_base64(text), None, "{text:?}");
        }
    }

    #[test]
    fn lines_that_are_no_keys_are_told_by_number_and_never_shown() {
        let secret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";
        let line = |text: &str| format!("# keys\n\nold {secret}\n{text}\n");
        for (text, problem) in [
            ("alone".to_owned(), "write `NAME KEY`"),
            (format!("a {secret} more"), "write `NAME KEY`"),
            (format!("{secret} a"), "name comes first"),
            (format!("a/b {secret}"), "name comes first"),
            (format!("a {secret}!"), "neither"),
            ("a 00112233".to_owned(), "less than 32 bytes"),
            (format!("old {secret}"), "another line"),
        ] {
            let error = Keyring::parse(line(&text).as_bytes()).unwrap_err();
            assert!(matches!(error, InvalidKeys::Line { line: 4, .. }), "{text}");
            let shown = error.to_string();
            assert!(shown.contains(problem) && !shown.contains("c2Vj"), "{shown}");
        }
        for text in ["", "# only\n"] {
            assert_eq!(Keyring::parse(text.as_bytes()).unwrap_err(), InvalidKeys::Empty);
        }
        let keys = Keyring::parse(
            line("new\t0011223344556677001122334455667700112233445566770011223344556677\r")
                .as_bytes(),
        );
        let keys = keys.unwrap();
        assert_eq!(keys.first().name(), b"old");
        assert!(keys.find(b"new").is_some() && keys.find(b"ne").is_none());
        assert_eq!(
            format!("{keys:?}"),
            r#"Keyring { first: SigningKey("old"), others: [SigningKey("new")] }"#
        );
    }
}
