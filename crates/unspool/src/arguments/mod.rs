//! The arguments of a task, as people look at them. Nothing of them is run, whatever they are.

mod decode;
mod value;

use unspool_core::pickle::{Item, Pickle, Unreadable, View};
use unspool_core::taskfile::{KEY_AT, KEY_FUNCTION, KEY_PRIORITY, KEY_SPOOLER, TaskFile};

use self::decode::Decoder;
pub(crate) use self::value::Value;

/// Keys that say how a task is run, and are no arguments.
const OURS: [&[u8]; 5] = [KEY_FUNCTION, KEY_RETURN, KEY_AT, KEY_PRIORITY, KEY_SPOOLER];
/// The key under which `uwsgidecorators` keeps what a function returns that returns nothing.
const KEY_RETURN: &[u8] = b"ud_spool_ret";
/// The keys of pickled arguments.
const ARGS: &[u8] = b"args";
const KWARGS: &[u8] = b"kwargs";

/// What a handler is given.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// Those by position, of a function that takes such.
    pub(crate) positional: Vec<Value>,
    /// Those by name.
    pub(crate) named: Vec<(String, Value)>,
    /// Why pickled arguments are not among them.
    pub(crate) unreadable: Option<(usize, Unreadable)>,
    /// `None`: there is none.
    pub(crate) body: Option<Value>,
}

impl Arguments {
    /// Of a whole task.
    pub(crate) fn of(task: &TaskFile<'_>, show_secrets: bool) -> Self {
        let mut named = Vec::new();
        let (mut args, mut kwargs) = (None, None);
        for (key, value) in task.fields().filter(|(key, _)| !OURS.contains(key)) {
            match key {
                ARGS => args = Some(value),
                KWARGS => kwargs = Some(value),
                _ => named.push((key, value)),
            }
        }
        let body = (!task.body.is_empty()).then(|| Decoder::new(show_secrets).bytes(task.body));
        let mut arguments =
            Self { positional: Vec::new(), named: Vec::new(), unreadable: None, body };
        if let (Some(args), Some(kwargs)) = (args, kwargs) {
            if let Err(why) = arguments.unpickle(args, kwargs, show_secrets) {
                arguments.unreadable = Some((args.len() + kwargs.len(), why));
            }
        } else {
            // By chance a name of an argument.
            named.extend(args.map(|value| (ARGS, value)));
            named.extend(kwargs.map(|value| (KWARGS, value)));
        }
        for (key, value) in named {
            let shown = Decoder::new(show_secrets).named(key, value);
            arguments.named.push((String::from_utf8_lossy(key).into_owned(), shown));
        }
        arguments
    }

    /// What `pass_arguments` of `uwsgidecorators` pickles: a tuple and a dictionary.
    fn unpickle(&mut self, args: &[u8], kwargs: &[u8], show: bool) -> Result<(), Unreadable> {
        let (args, kwargs) = (Pickle::read(args)?, Pickle::read(kwargs)?);
        let (View::Tuple(positional), View::Dict(_)) = (args.root().view(), kwargs.root().view())
        else {
            return Err(Unreadable::Wrong(0));
        };
        let shown = |item: Item<'_>| Decoder::new(show).item(item, 0);
        self.positional = positional.iter().map(|item| shown(*item)).collect();
        // A name and its value, as in a pair anywhere else.
        if let [name, _] = positional.as_slice()
            && Decoder::new(show).hides_of(name)
        {
            self.positional[1] = Value::Hidden;
        }
        if let Value::Dict(pairs) = shown(kwargs.root()) {
            let name = |(key, value)| match key {
                Value::Text(name) => (name, value),
                other => (other.text(), value),
            };
            self.named = pairs.into_iter().map(name).collect();
        }
        Ok(())
    }
}

/// Whether a text stands in the arguments or the body of a task, or in a file that is none.
pub(crate) fn contain(content: &[u8], text: &[u8]) -> bool {
    let has = |value: &[u8]| text.is_empty() || value.windows(text.len()).any(|part| part == text);
    let Ok(task) = TaskFile::parse(content) else { return has(content) };
    let mut fields = task.fields().filter(|(key, _)| !OURS.contains(key));
    if has(task.body) || fields.any(|(key, value)| has(key) || has(value)) {
        return true;
    }
    // Numbers and dates of pickles are no text in the file.
    let is_pickled = task.fields().any(|(key, value)| key == KWARGS && value.starts_with(&[0x80]));
    is_pickled && {
        let shown = Arguments::of(&task, true);
        let by_name = shown.named.iter().map(|(_, value)| value);
        shown.positional.iter().chain(by_name).any(|value| has(value.text().as_bytes()))
    }
}
