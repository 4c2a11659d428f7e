//! The words of the domain: task files, priorities, due times, outcomes and every bound.
//!
//! Pure values and conversions. No I/O, no clock, no threads: whoever needs one of those lives
//! in `unspool-sys` or above.

mod allowance;
mod bounds;
pub mod due;
pub mod limits;
mod message;
mod origin;
pub mod outcome;
pub mod pickle;
mod policy;
mod priority;
mod retry;
pub mod signing;
pub mod taskfile;

pub use allowance::{Allowance, Room};
pub use bounds::{FreeFloor, SpoolBounds};
pub use message::Message;
pub use origin::Origin;
pub use outcome::Outcome;
pub use policy::{Durability, UnknownDurability};
pub use priority::{InvalidPriority, Priority};
pub use retry::{RetryPolicy, TaskPolicy};
