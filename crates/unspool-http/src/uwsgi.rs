//! A request of the uwsgi protocol: a packet whose pairs are the variables.

use unspool_wire::packet::{Packet, pair_places};

use crate::fields::content_length;
use crate::refusal::BadRequest;
use crate::request::{BodyLength, Facts, Protocol, Request, Seen, Variables};

/// Variables of a packet. To find that none is there twice takes half the square of it.
const VARIABLES_MAX: usize = 1024;

/// Takes a whole packet with `modifier1` 0 for a request. Of pairs with one key the last one holds, as
/// with uWSGI.
pub fn read_uwsgi(packet: Packet) -> Result<Request, BadRequest> {
    let mut places = Vec::with_capacity(48);
    for place in pair_places(&packet.block) {
        let place = place.map_err(|_| BadRequest::new(400, "a variable is cut"))?;
        if place.0.is_empty() {
            return Err(BadRequest::new(400, "a variable has no name"));
        }
        places.push(place);
        if places.len() > VARIABLES_MAX {
            return Err(BadRequest::new(431, "the request has too many variables"));
        }
    }
    if places.is_empty() {
        return Err(BadRequest::new(400, "the request has no variables"));
    }
    let mut variables = Variables::of(packet.block);
    let mut seen = Seen::default();
    for (key, value) in places {
        variables.set_place(&mut seen, key, value);
    }
    let length = match variables.get(b"CONTENT_LENGTH") {
        None | Some(b"") => 0,
        Some(value) => content_length(value)?,
    };
    let facts = Facts {
        protocol: Protocol::Uwsgi,
        body: BodyLength::Bytes(length),
        keep_alive: false,
        expects_continue: false,
        is_head: variables.get(b"REQUEST_METHOD") == Some(b"HEAD"),
    };
    Ok(Request::new(variables, facts))
}
