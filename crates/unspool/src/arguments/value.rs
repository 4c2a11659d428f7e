//! A value of a task as it is shown: like Python's, or as JSON.

use std::fmt::Write as _;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value as Json, json};

use crate::display::clean;

/// Stands for what is not shown.
pub(crate) const HIDDEN: &str = "***";

/// What is shown of a value. Secrets are hidden already, and it is no larger than what people read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    /// A number beyond those, as text.
    Number(String),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Set(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// What Python would make: a call without its arguments, those, and what is set in the result.
    Object(String, Vec<Value>, Vec<(String, Value)>),
    /// What Python would show of it.
    Made(String),
    Hidden,
    /// What is left out, because it is too much.
    More,
}

impl Value {
    /// Like Python's `repr`.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::None => "None".to_owned(),
            Self::Bool(true) => "True".to_owned(),
            Self::Bool(false) => "False".to_owned(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => float(*value),
            Self::Number(text) | Self::Made(text) => clean(text),
            Self::Text(text) => quoted(text),
            Self::Bytes(bytes) => bytes_text(bytes),
            Self::List(items) => format!("[{}]", joined(items)),
            Self::Tuple(items) if items.len() == 1 => format!("({},)", joined(items)),
            Self::Tuple(items) => format!("({})", joined(items)),
            Self::Set(items) if items.is_empty() => "set()".to_owned(),
            Self::Set(items) => format!("{{{}}}", joined(items)),
            Self::Dict(pairs) => {
                let pair =
                    |(key, value): &(Self, Self)| format!("{}: {}", key.text(), value.text());
                format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(", "))
            }
            Self::Object(name, arguments, named) => object(name, arguments, named),
            Self::Hidden => HIDDEN.to_owned(),
            Self::More => "…".to_owned(),
        }
    }

    /// As JSON: what that does not have is text like Python's, or an object that says what it is.
    pub(crate) fn json(&self) -> Json {
        match self {
            Self::None => Json::Null,
            Self::Bool(value) => json!(value),
            Self::Int(value) => match i64::try_from(*value) {
                Ok(value) => json!(value),
                Err(_) => json!(value.to_string()),
            },
            Self::Float(value) if value.is_finite() => json!(value),
            Self::Text(text) => json!(text),
            Self::Bytes(bytes) => json!({ "base64": BASE64_STANDARD.encode(bytes) }),
            Self::List(items) | Self::Tuple(items) | Self::Set(items) => {
                items.iter().map(Self::json).collect()
            }
            Self::Dict(pairs) => {
                let pair = |(key, value): &(Self, Self)| {
                    let key = if let Self::Text(text) = key { text.clone() } else { key.text() };
                    (key, value.json())
                };
                Json::Object(pairs.iter().map(pair).collect::<Map<_, _>>())
            }
            other => json!(other.text()),
        }
    }
}

fn joined(items: &[Value]) -> String {
    items.iter().map(Value::text).collect::<Vec<_>>().join(", ")
}

fn object(name: &str, arguments: &[Value], named: &[(String, Value)]) -> String {
    let mut text = format!("<{}", clean(name));
    if !arguments.is_empty() {
        // Writing into a String cannot fail.
        let _ = write!(text, "({})", joined(arguments));
    }
    for (name, value) in named {
        let _ = write!(text, " {}={}", clean(name), value.text());
    }
    text + ">"
}

fn float(value: f64) -> String {
    match value {
        _ if value.is_nan() => "nan".to_owned(),
        _ if value.is_infinite() => if value > 0.0 { "inf" } else { "-inf" }.to_owned(),
        _ => format!("{value:?}"),
    }
}

fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\");
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let text = if quote == '\'' { text.replace('\'', "\\'") } else { text };
    format!("{quote}{}{quote}", clean(&text))
}

fn bytes_text(bytes: &[u8]) -> String {
    format!("b'{}'", bytes.escape_ascii().to_string().replace("\\\"", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_look_like_pythons() {
        let text = |text: &str| Value::Text(text.to_owned());
        for (value, shown) in [
            (Value::Tuple(vec![Value::Int(1)]), "(1,)"),
            (Value::Tuple(vec![Value::None, Value::Bool(true)]), "(None, True)"),
            (Value::Dict(vec![(text("a"), Value::Float(1.0))]), "{'a': 1.0}"),
            (text("it's"), "\"it's\""),
            (text("it's \"x\""), "'it\\'s \"x\"'"),
            (text("a\x1bb\n\\"), "'a\\u{1b}b\\n\\\\'"),
            (Value::Bytes(b"a\xff\"'\n".to_vec()), "b'a\\xff\"\\'\\n'"),
            (Value::Set(Vec::new()), "set()"),
            (
                Value::Object("m.C".into(), vec![Value::Int(1)], vec![("x".into(), Value::Hidden)]),
                "<m.C(1) x=***>",
            ),
        ] {
            assert_eq!(value.text(), shown);
        }
    }

    #[test]
    fn json_has_what_it_can_have() {
        let pairs = vec![(Value::Int(1), Value::Float(f64::NAN)), (Value::None, Value::More)];
        assert_eq!(Value::Dict(pairs).json(), json!({"1": "nan", "None": "…"}));
        assert_eq!(Value::Int(i128::MAX).json(), json!(i128::MAX.to_string()));
        assert_eq!(Value::Bytes(vec![0, 255]).json(), json!({"base64": "AP8="}));
    }
}
