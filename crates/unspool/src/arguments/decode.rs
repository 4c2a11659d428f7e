//! Bytes into what is shown of them. Runs nothing, and hides what has the name of a secret.

use unspool_config::{bytes_without_secrets, is_secret_name, without_secrets};
use unspool_core::pickle::{Item, Object, Pickle, View};

use super::value::Value;

/// Values of one argument that are shown, and how deep they may lie in each other.
const VALUES_MAX: usize = 20_000;
const DEPTH_MAX: usize = 40;
/// Bytes of a text that count as one value more: one text may stand in many places.
const VALUE_BYTES: usize = 64;
/// Modules in which pickles of old protocols find what Python 3 has elsewhere.
const RECONSTRUCTORS: [(&str, &str); 2] =
    [("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor")];

/// Makes values, a bounded number of them.
#[derive(Debug)]
pub(super) struct Decoder {
    show_secrets: bool,
    left: usize,
}

impl Decoder {
    pub(super) fn new(show_secrets: bool) -> Self {
        Self { show_secrets, left: VALUES_MAX }
    }

    fn hides(&self, name: &str) -> bool {
        !self.show_secrets && is_secret_name(name)
    }

    /// The value of a key, as a handler gets it.
    pub(super) fn named(&mut self, name: &[u8], bytes: &[u8]) -> Value {
        if self.hides(&String::from_utf8_lossy(name)) { Value::Hidden } else { self.bytes(bytes) }
    }

    /// Text, JSON, a pickle, or else bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Value {
        if let [0x80, 0..=5, .., b'.'] = bytes
            && let Ok(pickle) = Pickle::read(bytes)
        {
            return Value::Object(
                "pickle of".into(),
                vec![self.item(pickle.root(), 0)],
                Vec::new(),
            );
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text(text),
            Err(_) => self.raw(bytes),
        }
    }

    fn text(&self, text: &str) -> Value {
        Value::Text(if self.show_secrets { text.to_owned() } else { without_secrets(text) })
    }

    /// Bytes that may have texts in them.
    fn raw(&self, bytes: &[u8]) -> Value {
        let shows = self.show_secrets;
        Value::Bytes(if shows { bytes.to_vec() } else { bytes_without_secrets(bytes) })
    }

    /// A value of a pickle.
    pub(super) fn item(&mut self, item: Item<'_>, depth: usize) -> Value {
        if self.left == 0 || depth > DEPTH_MAX {
            return Value::More;
        }
        let view = item.view();
        let bytes = match &view {
            View::Text(text) => text.len(),
            View::Bytes(bytes) => bytes.len(),
            View::Large(digits) => digits.len(),
            View::Global(module, name) => module.len() + name.len(),
            _ => 0,
        };
        self.left = self.left.saturating_sub(1 + bytes / VALUE_BYTES);
        match view {
            View::None => Value::None,
            View::Bool(value) => Value::Bool(value),
            View::Int(value) => Value::Int(value),
            View::Large(digits) => Value::Number(digits),
            View::Float(value) => Value::Float(value),
            View::Text(text) => self.text(text),
            View::Bytes(bytes) => self.raw(bytes),
            View::List(items) => Value::List(self.row(&items, depth)),
            View::Tuple(items) => Value::Tuple(self.row(&items, depth)),
            View::Set(items) => Value::Set(self.items(&items, depth)),
            View::Dict(pairs) => Value::Dict(self.pairs(&pairs, depth)),
            View::Global(module, name) => Value::Made(format!("<{module}.{name}>")),
            View::Object(object) => self.object(&object, depth),
            _ => Value::Made("<outside of the pickle>".to_owned()),
        }
    }

    /// Items in their order; the second of two is hidden if the first is the name of a secret.
    fn row(&mut self, items: &[Item<'_>], depth: usize) -> Vec<Value> {
        let mut shown = self.items(items, depth);
        if let [name, _] = items
            && let [_, value] = shown.as_mut_slice()
            && self.hides_of(name)
        {
            *value = Value::Hidden;
        }
        shown
    }

    /// Whether what belongs to this is hidden.
    pub(super) fn hides_of(&self, name: &Item<'_>) -> bool {
        match name.view() {
            View::Text(name) => self.hides(name),
            View::Bytes(name) => self.hides(&String::from_utf8_lossy(name)),
            View::Object(object) => match encoded(&object) {
                Some(name) => self.hides(&String::from_utf8_lossy(&name)),
                None => false,
            },
            _ => false,
        }
    }

    fn items(&mut self, items: &[Item<'_>], depth: usize) -> Vec<Value> {
        let mut shown = Vec::new();
        for item in items {
            shown.push(self.item(*item, depth + 1));
            if self.left == 0 {
                break;
            }
        }
        shown
    }

    fn pairs(&mut self, pairs: &[(Item<'_>, Item<'_>)], depth: usize) -> Vec<(Value, Value)> {
        let mut shown = Vec::new();
        for (key, value) in pairs {
            let value =
                if self.hides_of(key) { Value::Hidden } else { self.item(*value, depth + 1) };
            shown.push((self.item(*key, depth + 1), value));
            if self.left == 0 {
                break;
            }
        }
        shown
    }

    fn object(&mut self, object: &Object<'_>, depth: usize) -> Value {
        let View::Global(module, name) = object.class.view() else {
            return Value::Made("<object of no known class>".to_owned());
        };
        if let Some(bytes) = encoded(object) {
            return self.raw(&bytes);
        }
        if let Some(value) = known(module, name, object) {
            return value;
        }
        let mut class = format!("{module}.{name}");
        let mut arguments = object.arguments.as_slice();
        if RECONSTRUCTORS.contains(&(module, name))
            && let Some(View::Global(module, name)) = arguments.first().map(|item| item.view())
        {
            class = format!("{module}.{name}");
            arguments = &[];
        }
        let mut values = self.items(arguments, depth);
        let mut named = Vec::new();
        for of in [object.keywords, object.state].into_iter().flatten() {
            match of.view() {
                View::Dict(pairs) => {
                    named.extend(self.pairs(&pairs, depth).into_iter().map(name_of));
                }
                _ => named.push(("state".to_owned(), self.item(of, depth + 1))),
            }
        }
        if !object.items.is_empty() {
            values.push(Value::List(self.items(&object.items, depth)));
        }
        if !object.pairs.is_empty() {
            values.push(Value::Dict(self.pairs(&object.pairs, depth)));
        }
        Value::Object(class, values, named)
    }
}

fn name_of((key, value): (Value, Value)) -> (String, Value) {
    (if let Value::Text(name) = key { name } else { key.text() }, value)
}

/// The bytes that pickles of old protocols have as a call, which makes them of a text.
fn encoded(object: &Object<'_>) -> Option<Vec<u8>> {
    let View::Global("_codecs", "encode") = object.class.view() else { return None };
    let View::Text(text) = object.arguments.first()?.view() else { return None };
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

/// What many calls are made with, as Python shows it.
fn known(module: &str, name: &str, object: &Object<'_>) -> Option<Value> {
    let first = object.arguments.first().map(|item| item.view());
    let made = |text: String| Some(Value::Made(text));
    match (module, name, first) {
        ("datetime", "date", Some(View::Bytes([high, low, month, day]))) => {
            made(format!("datetime.date({}, {month}, {day})", u16::from_be_bytes([*high, *low])))
        }
        (
            "datetime",
            "datetime",
            Some(View::Bytes([high, low, month, day, hour, minute, second, micros @ ..])),
        ) if micros.len() == 3 => {
            let micros = micros.iter().fold(0u32, |sum, byte| (sum << 8) | u32::from(*byte));
            let (year, month) = (u16::from_be_bytes([*high, *low]), month & 0x7f);
            let zone = if object.arguments.len() > 1 { ", tzinfo=…" } else { "" };
            let micros = if micros > 0 { format!(", {micros}") } else { String::new() };
            made(format!(
                "datetime.datetime({year}, {month}, {day}, {hour}, {minute}, {second}{micros}{zone})"
            ))
        }
        ("datetime", "timedelta", Some(View::Int(days))) => {
            let rest: Vec<String> = object.arguments[1..]
                .iter()
                .filter_map(
                    |item| if let View::Int(n) = item.view() { Some(n.to_string()) } else { None },
                )
                .collect();
            made(format!("datetime.timedelta({days}, {})", rest.join(", ")))
        }
        ("decimal", "Decimal", Some(View::Text(digits))) => made(format!("Decimal('{digits}')")),
        ("uuid", "UUID", _) => {
            let View::Dict(pairs) = object.state?.view() else { return None };
            let (_, int) = pairs.into_iter().find(|(key, _)| key.text() == Some("int"))?;
            let number = match int.view() {
                View::Int(number) => u128::try_from(number).ok()?,
                View::Large(digits) => u128::from_str_radix(digits.strip_prefix("0x")?, 16).ok()?,
                _ => return None,
            };
            let digits = format!("{number:032x}");
            let parts =
                [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
            made(format!("UUID('{}')", parts.join("-")))
        }
        _ => None,
    }
}
