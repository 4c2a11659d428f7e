//! Python's pickles, read to be shown: nothing is imported, called or built.
//!
//! What a pickle would import is a name, and what it would make an [`View::Object`] of that name. Of
//! the protocols 0 to 5 everything is read but what stands outside of the pickle. The format is
//! documented in Python's `pickletools`.

mod machine;
mod text;

use machine::Node;

/// Bytes of a pickle that is read: more is no call's arguments.
pub const PICKLE_BYTES_MAX: usize = 16 << 20;

/// Why bytes are no pickle that can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// It ends before its end.
    #[error("it is cut")]
    Cut,
    /// It is none.
    #[error("the byte at {0} is not what a pickle has there")]
    Wrong(usize),
    /// Longer than [`PICKLE_BYTES_MAX`].
    #[error("it is too long to be shown")]
    Long,
}

/// A pickle that was read.
#[derive(Debug)]
pub struct Pickle {
    nodes: Vec<Node>,
    root: usize,
}

impl Pickle {
    /// Reads a whole pickle; what follows its end is not looked at, as Python does not.
    pub fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        machine::read(bytes)
    }

    /// What it is of.
    pub fn root(&self) -> Item<'_> {
        Item { pickle: self, at: self.root }
    }
}

/// A value in a pickle. One value may stand in several places, and in itself: who walks through them
/// needs a bound.
#[derive(Debug, Clone, Copy)]
pub struct Item<'p> {
    pickle: &'p Pickle,
    at: usize,
}

/// What a value is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum View<'p> {
    /// `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An int that is not too large.
    Int(i128),
    /// A larger one, in hexadecimal digits after `0x`.
    Large(String),
    /// A float.
    Float(f64),
    /// Text; surrogates are replaced.
    Text(&'p str),
    /// Bytes, or a bytearray.
    Bytes(&'p [u8]),
    /// A list.
    List(Vec<Item<'p>>),
    /// A tuple.
    Tuple(Vec<Item<'p>>),
    /// A set or a frozenset.
    Set(Vec<Item<'p>>),
    /// A dictionary.
    Dict(Vec<(Item<'p>, Item<'p>)>),
    /// A class or a function, by its name.
    Global(&'p str, &'p str),
    /// What a call of something would make.
    Object(Object<'p>),
    /// What stands outside of the pickle.
    Outside,
}

/// What a call would make.
#[derive(Debug, Clone)]
pub struct Object<'p> {
    /// What would be called.
    pub class: Item<'p>,
    /// With these arguments,
    pub arguments: Vec<Item<'p>>,
    /// and these keyword arguments.
    pub keywords: Option<Item<'p>>,
    /// What would be appended or added to the result,
    pub items: Vec<Item<'p>>,
    /// what would be set in it,
    pub pairs: Vec<(Item<'p>, Item<'p>)>,
    /// and its state.
    pub state: Option<Item<'p>>,
}

impl<'p> Item<'p> {
    fn node(self) -> &'p Node {
        // Every index that the machine makes is that of a node.
        self.pickle.nodes.get(self.at).unwrap_or(&Node::None)
    }

    fn other(self, at: usize) -> Self {
        Self { at, ..self }
    }

    fn others(self, places: &[usize]) -> Vec<Self> {
        places.iter().map(|at| self.other(*at)).collect()
    }

    fn pairs(self, places: &[(usize, usize)]) -> Vec<(Self, Self)> {
        places.iter().map(|(key, value)| (self.other(*key), self.other(*value))).collect()
    }

    /// What it is.
    pub fn view(self) -> View<'p> {
        match self.node() {
            Node::None => View::None,
            Node::Bool(value) => View::Bool(*value),
            Node::Int(value) => View::Int(*value),
            Node::Large(digits) => View::Large(digits.clone()),
            Node::Float(value) => View::Float(*value),
            Node::Text(text) => View::Text(text),
            Node::Bytes(bytes) => View::Bytes(bytes),
            Node::List(items) => View::List(self.others(items)),
            Node::Tuple(items) => View::Tuple(self.others(items)),
            Node::Set(items) => View::Set(self.others(items)),
            Node::Dict(pairs) => View::Dict(self.pairs(pairs)),
            Node::Global(module, name) => View::Global(module, name),
            Node::Object(object) => View::Object(Object {
                class: self.other(object.class),
                arguments: match self.other(object.arguments).node() {
                    Node::Tuple(items) | Node::List(items) => self.others(items),
                    _ => vec![self.other(object.arguments)],
                },
                keywords: object.keywords.map(|at| self.other(at)),
                items: self.others(&object.items),
                pairs: self.pairs(&object.pairs),
                state: object.state.map(|at| self.other(at)),
            }),
            Node::Outside => View::Outside,
        }
    }

    /// The text that it is.
    pub fn text(self) -> Option<&'p str> {
        match self.node() {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `pickle.dumps({"a": [1, -2, 2**70], "b": (None, True, 1.5, b"x")}, 4)`.
    const SAMPLE: &[u8] = b"\x80\x04\x955\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94]\x94(K\x01J\xfe\xff\xff\
        \xff\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00@e\x8c\x01b\x94(N\x88G?\xf8\x00\x00\x00\x00\x00\x00C\x01x\x94t\
        \x94u.";

    #[test]
    fn a_pickle_is_read() {
        let pickle = Pickle::read(SAMPLE).unwrap();
        let View::Dict(pairs) = pickle.root().view() else { panic!() };
        let [(a, list), (b, tuple)] = pairs[..] else { panic!() };
        assert_eq!((a.text(), b.text()), (Some("a"), Some("b")));
        let View::List(items) = list.view() else { panic!() };
        assert!(matches!(items[1].view(), View::Int(-2)));
        assert!(matches!(items[2].view(), View::Int(n) if n == 1 << 70));
        let View::Tuple(items) = tuple.view() else { panic!() };
        assert!(matches!(items[2].view(), View::Float(1.5)));
        assert!(matches!(items[3].view(), View::Bytes(b"x")));
    }

    #[test]
    fn a_cut_pickle_is_none() {
        for end in 0..SAMPLE.len() {
            assert!(Pickle::read(&SAMPLE[..end]).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn a_changed_pickle_breaks_nothing() {
        let mut bytes = SAMPLE.to_vec();
        for at in 0..bytes.len() {
            for value in 0..=u8::MAX {
                bytes[at] = value;
                if let Ok(pickle) = Pickle::read(&bytes) {
                    let _ = pickle.root().view();
                }
            }
            bytes[at] = SAMPLE[at];
        }
    }

    #[test]
    fn nothing_is_called() {
        let pickle = Pickle::read(b"cos\nsystem\n(S'rm -rf /'\ntR.").unwrap();
        let View::Object(object) = pickle.root().view() else { panic!() };
        assert!(matches!(object.class.view(), View::Global("os", "system")));
        assert_eq!(object.arguments[0].text(), Some("rm -rf /"));
    }

    #[test]
    fn a_list_in_itself_is_read() {
        let pickle = Pickle::read(b"\x80\x02]q\x00h\x00a.").unwrap();
        let View::List(items) = pickle.root().view() else { panic!() };
        assert!(matches!(items[0].view(), View::List(_)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (bytes, why) in [
            (&b""[..], Unreadable::Cut),
            (b".", Unreadable::Wrong(0)),
            (b"\xff", Unreadable::Wrong(0)),
            (b"Na.", Unreadable::Wrong(1)),
            (b"((K\x01u.", Unreadable::Wrong(4)),
            (b"h\x05.", Unreadable::Wrong(0)),
            (b"X\xff\xff\xff\x7f", Unreadable::Cut),
        ] {
            assert_eq!(Pickle::read(bytes).err(), Some(why), "{}", bytes.escape_ascii());
        }
    }
}
