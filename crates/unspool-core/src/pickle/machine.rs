//! The machine that a pickle is a program of: a stack, a memo, and values that refer to each other by
//! number.

use std::collections::HashMap;

use super::text::{decimal, little_endian, quoted, raw_unicode};
use super::{PICKLE_BYTES_MAX, Pickle, Unreadable};

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i128),
    Large(String),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<usize>),
    Tuple(Vec<usize>),
    Set(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    Global(String, String),
    Object(Box<Made>),
    Outside,
}

/// What a call makes, and what is done to it afterwards.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) class: usize,
    pub(super) arguments: usize,
    pub(super) keywords: Option<usize>,
    pub(super) items: Vec<usize>,
    pub(super) pairs: Vec<(usize, usize)>,
    pub(super) state: Option<usize>,
}

/// Runs the program.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle, Unreadable> {
    if bytes.len() > PICKLE_BYTES_MAX {
        return Err(Unreadable::Long);
    }
    let mut machine = Machine::new(bytes);
    loop {
        let at = machine.at;
        let code = machine.take(1)?[0];
        let wrong = Unreadable::Wrong(at);
        if code == b'.' {
            let root = machine.stack.pop().ok_or(wrong)?;
            return Ok(Pickle { nodes: machine.nodes, root });
        }
        let known = machine.value(code, wrong)?
            || machine.container(code, wrong)?
            || machine.memory(code, wrong)?
            || machine.call(code, wrong)?;
        if !known {
            return Err(wrong);
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<usize>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: HashMap<u64, usize>,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let (nodes, stack, marks, memo) = Default::default();
        Self { bytes, at: 0, nodes, stack, marks, memo }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Unreadable> {
        let end = self.at.checked_add(count).ok_or(Unreadable::Cut)?;
        let taken = self.bytes.get(self.at..end).ok_or(Unreadable::Cut)?;
        self.at = end;
        Ok(taken)
    }

    /// A number without a sign in so many bytes.
    fn number(&mut self, width: usize) -> Result<u64, Unreadable> {
        let bytes = self.take(width)?;
        Ok(bytes.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)))
    }

    /// As many bytes as a number in front of them says.
    fn sized(&mut self, width: usize) -> Result<&'a [u8], Unreadable> {
        let count = self.number(width)?;
        self.take(usize::try_from(count).map_err(|_| Unreadable::Cut)?)
    }

    fn line(&mut self) -> Result<&'a [u8], Unreadable> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(Unreadable::Cut)?;
        self.at += end + 1;
        Ok(&rest[..end])
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn pop(&mut self, wrong: Unreadable) -> Result<usize, Unreadable> {
        // What lies below a mark belongs to somebody else.
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(wrong);
        }
        self.stack.pop().ok_or(wrong)
    }

    /// All above the last mark.
    fn pop_marked(&mut self, wrong: Unreadable) -> Result<Vec<usize>, Unreadable> {
        let mark = self.marks.pop().ok_or(wrong)?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn top(&mut self, wrong: Unreadable) -> Result<&mut Node, Unreadable> {
        let at = *self.stack.last().ok_or(wrong)?;
        self.nodes.get_mut(at).ok_or(wrong)
    }

    fn push_int(&mut self, value: Result<i128, String>) {
        self.push(match value {
            Ok(value) => Node::Int(value),
            Err(digits) => Node::Large(digits),
        });
    }

    /// Codes that push a plain value. Whether it is one.
    fn value(&mut self, code: u8, wrong: Unreadable) -> Result<bool, Unreadable> {
        let text = |bytes: &[u8]| Node::Text(String::from_utf8_lossy(bytes).into_owned());
        let node = match code {
            b'N' => Node::None,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'K' => Node::Int(i128::from(self.number(1)?)),
            b'M' => Node::Int(i128::from(self.number(2)?)),
            b'J' => Node::Int(i128::from(self.number(4)? as u32 as i32)),
            b'I' | b'L' => {
                let line = self.line()?;
                match line {
                    b"00" | b"01" if code == b'I' => Node::Bool(line == b"01"),
                    _ => {
                        let digits = line.strip_suffix(b"L").unwrap_or(line);
                        self.push_int(decimal(digits).ok_or(wrong)?);
                        return Ok(true);
                    }
                }
            }
            0x8a | 0x8b => {
                let bytes = self.sized(if code == 0x8a { 1 } else { 4 })?;
                self.push_int(little_endian(bytes));
                return Ok(true);
            }
            b'F' => {
                let line = std::str::from_utf8(self.line()?).map_err(|_| wrong)?;
                Node::Float(line.trim().parse().map_err(|_| wrong)?)
            }
            b'G' => {
                let bytes = self.take(8)?.first_chunk::<8>().ok_or(wrong)?;
                Node::Float(f64::from_be_bytes(*bytes))
            }
            b'S' => text(&quoted(self.line()?).ok_or(wrong)?),
            b'V' => Node::Text(raw_unicode(self.line()?).ok_or(wrong)?),
            b'T' | b'X' => text(self.sized(4)?),
            b'U' | 0x8c => text(self.sized(1)?),
            0x8d => text(self.sized(8)?),
            b'C' => Node::Bytes(self.sized(1)?.to_vec()),
            b'B' => Node::Bytes(self.sized(4)?.to_vec()),
            0x8e | 0x96 => Node::Bytes(self.sized(8)?.to_vec()),
            _ => return Ok(false),
        };
        self.push(node);
        Ok(true)
    }

    /// Codes that make and fill containers.
    fn container(&mut self, code: u8, wrong: Unreadable) -> Result<bool, Unreadable> {
        match code {
            b'(' => self.marks.push(self.stack.len()),
            b']' => self.push(Node::List(Vec::new())),
            b')' => self.push(Node::Tuple(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            0x8f => self.push(Node::Set(Vec::new())),
            b'l' | b't' | 0x91 => {
                let items = self.pop_marked(wrong)?;
                self.push(match code {
                    b'l' => Node::List(items),
                    b't' => Node::Tuple(items),
                    _ => Node::Set(items),
                });
            }
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0x84..code {
                    items.insert(0, self.pop(wrong)?);
                }
                self.push(Node::Tuple(items));
            }
            b'd' => {
                let pairs = paired(&self.pop_marked(wrong)?, wrong)?;
                self.push(Node::Dict(pairs));
            }
            b'a' => {
                let item = self.pop(wrong)?;
                self.add(vec![item], wrong)?;
            }
            b'e' | 0x90 => {
                let items = self.pop_marked(wrong)?;
                self.add(items, wrong)?;
            }
            b's' => {
                let value = self.pop(wrong)?;
                let key = self.pop(wrong)?;
                self.set(vec![(key, value)], wrong)?;
            }
            b'u' => {
                let pairs = paired(&self.pop_marked(wrong)?, wrong)?;
                self.set(pairs, wrong)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn add(&mut self, new: Vec<usize>, wrong: Unreadable) -> Result<(), Unreadable> {
        match self.top(wrong)? {
            Node::List(items) | Node::Set(items) => items.extend(new),
            Node::Object(made) => made.items.extend(new),
            _ => return Err(wrong),
        }
        Ok(())
    }

    fn set(&mut self, new: Vec<(usize, usize)>, wrong: Unreadable) -> Result<(), Unreadable> {
        match self.top(wrong)? {
            Node::Dict(pairs) => pairs.extend(new),
            Node::Object(made) => made.pairs.extend(new),
            _ => return Err(wrong),
        }
        Ok(())
    }

    /// Codes of the stack, the memo and the frame.
    fn memory(&mut self, code: u8, wrong: Unreadable) -> Result<bool, Unreadable> {
        match code {
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'0' => {
                // Of a mark without anything above it, that.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop(wrong)?;
                }
            }
            b'1' => drop(self.pop_marked(wrong)?),
            b'2' => {
                let top = *self.stack.last().ok_or(wrong)?;
                self.stack.push(top);
            }
            b'p' | b'q' | b'r' | 0x94 => {
                let key = match code {
                    b'p' => key_in(self.line()?).ok_or(wrong)?,
                    b'q' => self.number(1)?,
                    b'r' => self.number(4)?,
                    _ => self.memo.len() as u64,
                };
                let top = *self.stack.last().ok_or(wrong)?;
                self.memo.insert(key, top);
            }
            b'g' | b'h' | b'j' => {
                let key = match code {
                    b'g' => key_in(self.line()?).ok_or(wrong)?,
                    b'h' => self.number(1)?,
                    _ => self.number(4)?,
                };
                let known = *self.memo.get(&key).ok_or(wrong)?;
                self.stack.push(known);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Codes that would import or call.
    fn call(&mut self, code: u8, wrong: Unreadable) -> Result<bool, Unreadable> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match code {
            b'c' => {
                let (module, name) = (text(self.line()?), text(self.line()?));
                self.push(Node::Global(module, name));
            }
            0x93 => {
                let (name, module) = (self.pop(wrong)?, self.pop(wrong)?);
                let named = |at: usize| match self.nodes.get(at) {
                    Some(Node::Text(text)) => Ok(text.clone()),
                    _ => Err(wrong),
                };
                let global = Node::Global(named(module)?, named(name)?);
                self.push(global);
            }
            0x82..=0x84 => {
                let number = self.number(1 << (code - 0x82))?;
                self.push(Node::Global("copyreg".into(), format!("extension {number}")));
            }
            b'R' | 0x81 => {
                let (arguments, class) = (self.pop(wrong)?, self.pop(wrong)?);
                self.push_made(class, arguments, None);
            }
            0x92 => {
                let (keywords, arguments) = (self.pop(wrong)?, self.pop(wrong)?);
                let class = self.pop(wrong)?;
                self.push_made(class, arguments, Some(keywords));
            }
            b'i' | b'o' => {
                let class = (code == b'i')
                    .then(|| Ok(Node::Global(text(self.line()?), text(self.line()?))))
                    .transpose()?;
                let mut arguments = self.pop_marked(wrong)?;
                let class = match class {
                    Some(global) => {
                        self.nodes.push(global);
                        self.nodes.len() - 1
                    }
                    None if arguments.is_empty() => return Err(wrong),
                    None => arguments.remove(0),
                };
                self.nodes.push(Node::Tuple(arguments));
                self.push_made(class, self.nodes.len() - 1, None);
            }
            b'b' => {
                let state = self.pop(wrong)?;
                if let Node::Object(made) = self.top(wrong)? {
                    made.state = Some(state);
                }
            }
            b'P' => {
                self.line()?;
                self.push(Node::Outside);
            }
            b'Q' => {
                self.pop(wrong)?;
                self.push(Node::Outside);
            }
            0x97 => self.push(Node::Outside),
            // A buffer that may not be written is the same.
            0x98 => drop(self.top(wrong)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn push_made(&mut self, class: usize, arguments: usize, keywords: Option<usize>) {
        let (items, pairs) = (Vec::new(), Vec::new());
        let made = Made { class, arguments, keywords, items, pairs, state: None };
        self.push(Node::Object(Box::new(made)));
    }
}

fn key_in(line: &[u8]) -> Option<u64> {
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

fn paired(items: &[usize], wrong: Unreadable) -> Result<Vec<(usize, usize)>, Unreadable> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(wrong);
    }
    Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
}
