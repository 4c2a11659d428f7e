//! What a user should hear about a configuration that can be used all the same.

use std::fmt;
use std::path::PathBuf;

use crate::error::did_you_mean;
use crate::origin::Origin;

/// One remark. Its `Display` form is a sentence without a final period: where, what, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A key of a file or the environment that is no option and that nothing refers to.
    UnknownOption { name: String, origin: Origin, nearest: Option<String> },
    /// What `print` and `iprint` ask to say.
    Printed { text: String },
    /// Options of uWSGI that were read and are not carried out yet; there is at most one of these.
    NotYetInEffect { names: Vec<String> },
    /// Options of uWSGI that do nothing in unspool; there is at most one of these.
    Ignored { names: Vec<String> },
    /// An option that changes nothing where it stands.
    NoEffect { name: String, origin: Origin, reason: &'static str },
    /// A value outside the useful range; another one is used.
    Adjusted { name: String, origin: Origin, value: String, used: String },
    /// A number with text behind it, or an empty one.
    NumberReadAs { name: String, origin: Origin, value: String, used: String },
    /// A blank after the colon of `module:callable` was taken out.
    BlankTrimmed { name: String, origin: Origin, value: String, used: String },
    /// The quotes are part of the value.
    Quoted { name: String, origin: Origin, value: String },
    /// A placeholder of this value has no definition and stands in it literally.
    Unexpanded { name: String, origin: Origin, placeholder: String },
    /// `%` and a character that is no magic variable: both vanish.
    MagicVanished { origin: Origin, letter: char },
    /// `%` at the end of a line: the next line is part of this one.
    LineJoined { origin: Origin },
    /// The file has no such section, so nothing was read from it.
    MissingSection { path: PathBuf, section: String, origin: Origin, found: Vec<String> },
    /// Keys before the first section header belong to nobody.
    KeysBeforeSection { origin: Origin },
    /// An element of an XML file that has elements inside, which no option has.
    Skipped { name: String, origin: Origin },
    /// The file ended inside a block.
    UnclosedBlock { name: String, origin: Origin },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOption { name, origin, nearest } => {
                let advice = if nearest.is_some() {
                    did_you_mean(nearest.as_deref())
                } else {
                    format!("; if the application reads it, write `set-placeholder = {name}=...`")
                };
                write!(f, "{origin}: unknown option `{name}` is ignored{advice}")
            }
            Self::Printed { text } => f.write_str(text),
            Self::NotYetInEffect { names } => list(f, "are read but not yet in effect", names),
            Self::Ignored { names } => list(f, "of uWSGI have no effect in unspool", names),
            Self::NoEffect { name, origin, reason } => {
                write!(f, "{origin}: `{name}` has no effect here: {reason}")
            }
            Self::Adjusted { name, origin, value, used } => {
                write!(f, "{origin}: `{name} = {value}` is out of range; {used} is used")
            }
            Self::NumberReadAs { name, origin, value, used } => {
                write!(
                    f,
                    "{origin}: `{name} = {value}` is no number; it is read as {used}, as in uWSGI"
                )
            }
            Self::BlankTrimmed { name, origin, value, used } => {
                write!(f, "{origin}: `{name} = {value}` is read as `{used}`; remove the blank")
            }
            Self::Quoted { name, origin, value } => write!(
                f,
                "{origin}: `{name} = {value}`: the quotes are part of the value; remove them"
            ),
            Self::Unexpanded { name, origin, placeholder } => write!(
                f,
                "{origin}: `{name}` keeps `{placeholder}` as it is, since nothing defines it here"
            ),
            Self::MagicVanished { origin, letter } => write!(
                f,
                "{origin}: `%{}` is no magic variable and vanishes; write `%%` for a percent sign",
                letter.escape_debug()
            ),
            Self::LineJoined { origin } => write!(
                f,
                "{origin}: `%` at the end of the line joins the next line to it; write `%%` for a \
                 percent sign"
            ),
            Self::MissingSection { path, section, origin, found } => {
                write!(f, "{origin}: `{}` has no section [{section}]", path.display())?;
                if found.is_empty() {
                    write!(f, " and no other; put [{section}] on its first line")
                } else {
                    write!(f, "; it has [{}]", found.join("], ["))
                }
            }
            Self::KeysBeforeSection { origin } => write!(
                f,
                "{origin}: lines before the first section header are ignored; put [uwsgi] above \
                 them"
            ),
            Self::Skipped { name, origin } => {
                write!(
                    f,
                    "{origin}: <{name}> has elements inside and is ignored; write options alone"
                )
            }
            Self::UnclosedBlock { name, origin } => write!(
                f,
                "{origin}: `{name}` is not closed before the end of the file; add `end` where it \
                 should end"
            ),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, what: &str, names: &[String]) -> fmt::Result {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    write!(f, "these options {what}: {}", quoted.join(", "))
}
