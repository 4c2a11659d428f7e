//! Any bytes as packets of the uwsgi protocol, cut anywhere, and as the first ones between two of ours.
#![no_main]

use libfuzzer_sys::fuzz_target;
use unspool_fuzz::memory::bounded;
use unspool_wire::packet::{Assembly, HEADER_BYTES, read_pairs, write_packet};
use unspool_wire::peer::{Greeting, Hello};

fuzz_target!(|data: &[u8]| {
    let [most_low, most_high, cut, bytes @ ..] = data else { return };
    let most = u16::from_le_bytes([*most_low, *most_high]);
    bounded(64 * data.len() + 64 * 1024, || check(bytes, most, usize::from(*cut).max(1)));
});

fn check(bytes: &[u8], most: u16, cut: usize) {
    let mut rest = bytes;
    let whole = Assembly::new(most).take(&mut rest);
    // In pieces it is the same, and no byte behind it is taken.
    let mut assembly = Assembly::new(most);
    let mut taken = 0;
    let mut found = Ok(None);
    for piece in bytes.chunks(cut) {
        let mut left = piece;
        found = assembly.take(&mut left);
        taken += piece.len() - left.len();
        if !matches!(found, Ok(None)) {
            break;
        }
    }
    assert_eq!(found, whole);
    let Ok(Some(packet)) = whole else { return };
    assert_eq!(taken, bytes.len() - rest.len());
    assert!(packet.header.bytes <= most);
    assert_eq!(taken, HEADER_BYTES + packet.block.len());
    let (hello, greeting) = (Hello::read(&packet), Greeting::read(&packet));
    if let Ok(pairs) = read_pairs(&packet.block) {
        let header = packet.header;
        let again = write_packet(header.modifier1, header.modifier2, &pairs);
        assert_eq!(again.as_deref(), Ok(&bytes[..taken]));
    }
    if let Ok(Some(hello)) = hello {
        let sent = hello.to_packet();
        let again = Assembly::new(u16::MAX).take(&mut &sent[..]);
        let again = again.ok().flatten().expect("our own packet");
        assert_eq!(Hello::read(&again), Ok(Some(hello)));
    }
    if let Ok(Greeting::Welcome(welcome)) = greeting {
        assert!(welcome.window > 0);
        let sent = welcome.to_packet();
        let again = Assembly::new(u16::MAX).take(&mut &sent[..]);
        let again = again.ok().flatten().expect("our own packet");
        assert_eq!(Greeting::read(&again), Ok(Greeting::Welcome(welcome)));
    }
}
