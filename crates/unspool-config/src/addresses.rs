//! Lists of addresses and networks, as `allow-from` has them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// Addresses and networks of IPv4 and IPv6.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressList {
    networks: Vec<IpNet>,
}

/// More of them are a mistake: each connection is compared with all.
const NETWORKS_MAX: usize = 4096;

/// A list that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidAddressList {
    #[error(
        "`{text}` is neither an address nor a network; write 10.1.2.3, 10.1.0.0/16, fd00::1 or \
         fd00::/8, without ports, brackets and names"
    )]
    NoAddress { text: String },
    #[error(
        "`{text}` has bits behind its prefix; write `{network}` for the network, or the address alone"
    )]
    HostBits { text: String, network: IpNet },
    #[error("these are more than {NETWORKS_MAX} addresses; write networks")]
    TooMany,
}

impl AddressList {
    /// Whether the address is one of them. One of IPv4 that came over a socket of IPv6 is one of IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Each of them, as a network.
    pub fn networks(&self) -> &[IpNet] {
        &self.networks
    }

    /// Adds what a text lists, with commas or blanks between.
    pub(crate) fn extend(&mut self, text: &str) -> Result<(), InvalidAddressList> {
        for item in text.split([',', ' ', '\t']).filter(|item| !item.is_empty()) {
            let network = parse(item)?;
            if self.networks.len() >= NETWORKS_MAX {
                return Err(InvalidAddressList::TooMany);
            }
            self.networks.push(network);
        }
        Ok(())
    }
}

impl fmt::Display for AddressList {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, network) in self.networks.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if network.prefix_len() == network.max_prefix_len() {
                write!(to, "{comma}{}", network.addr())?;
            } else {
                write!(to, "{comma}{network}")?;
            }
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<IpNet, InvalidAddressList> {
    let none = || InvalidAddressList::NoAddress { text: text.to_owned() };
    if !text.contains('/') {
        return text.parse::<IpAddr>().map(|at| IpNet::from(at.to_canonical())).map_err(|_| none());
    }
    let network: IpNet = text.parse().map_err(|_| none())?;
    if network.trunc() != network {
        let network = network.trunc();
        return Err(InvalidAddressList::HostBits { text: text.to_owned(), network });
    }
    Ok(unmapped(network))
}

/// A network of IPv4 that is written as one of IPv6 (`::ffff:10.0.0.0/104`), as one of IPv4.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(six) = network else { return network };
    let mapped: Option<std::net::Ipv4Addr> = Ipv6Addr::to_ipv4_mapped(&six.addr());
    let prefix = six.prefix_len().checked_sub(96);
    match mapped.zip(prefix).map(|(address, prefix)| Ipv4Net::new(address, prefix)) {
        Some(Ok(four)) => IpNet::V4(four),
        _ => network,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(text: &str) -> AddressList {
        let mut list = AddressList::default();
        list.extend(text).unwrap();
        list
    }

    fn holds(list: &str, address: &str) -> bool {
        self::list(list).contains(address.parse().unwrap())
    }

    #[test]
    fn addresses_and_networks_are_known_again() {
        for (networks, inside, outside) in [
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("::/0", "fd00::1", "10.0.0.1"),
            ("fd00::/8", "fd12::1", "fe80::1"),
            ("::1", "::1", "127.0.0.1"),
            ("10.0.0.1, 10.0.0.2\t192.168.0.0/24", "192.168.0.7", "10.0.0.3"),
            // One of IPv4, as a socket of IPv6 shows it, and written so.
            ("10.1.0.0/16", "::ffff:10.1.2.3", "::ffff:10.2.2.3"),
            ("::ffff:10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("::ffff:10.0.0.0/104", "10.200.0.1", "11.0.0.1"),
        ] {
            assert!(holds(networks, inside), "{networks} {inside}");
            assert!(!holds(networks, outside), "{networks} {outside}");
            assert_eq!(list(&list(networks).to_string()), list(networks), "{networks}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "localhost",
            "10.1.2",
            "10.1.2.3:80",
            "[::1]",
            "10.0.0.0/33",
            "::/129",
            "/8",
            "10.0.0.0/",
        ] {
            let none = InvalidAddressList::NoAddress { text: text.to_owned() };
            assert_eq!(AddressList::default().extend(text), Err(none), "{text}");
        }
        let error = AddressList::default().extend("10.1.2.3/8").unwrap_err();
        assert!(error.to_string().contains("write `10.0.0.0/8`"), "{error}");
        let many = "10.0.0.1 ".repeat(NETWORKS_MAX + 1);
        assert_eq!(AddressList::default().extend(&many), Err(InvalidAddressList::TooMany));
    }

    proptest! {
        #[test]
        fn a_network_has_the_addresses_that_share_its_prefix(
            base: u32, other: u32, prefix in 0_u8..=32,
        ) {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            let network = std::net::Ipv4Addr::from(base & mask);
            let address = std::net::Ipv4Addr::from(other);
            let inside = base & mask == other & mask;
            prop_assert_eq!(list(&format!("{network}/{prefix}")).contains(address.into()), inside);
        }

        #[test]
        fn nothing_makes_it_panic(text in "[0-9a-f:./, x]{0,40}") {
            let _ = AddressList::default().extend(&text);
        }
    }
}
