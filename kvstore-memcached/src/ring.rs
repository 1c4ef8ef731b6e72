//! Which server a key lives on: ketama, as libmemcached has it (`MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED` with equal weights),
//! and with it PHP's `OPT_LIBKETAMA_COMPATIBLE`; twemproxy's `ketama` agrees where it hashes by `md5`. spymemcached's
//! `LIBMEMCACHED` format always makes 40 hashes a server, libmemcached one less at some numbers of servers.
//!
//! Each server has 160 points on a circle of 32 bits; a key lives on the server whose point is the first at or
//! after its own. So a server that is added takes keys from all others, and from nowhere else.

use md5::{Digest as _, Md5};

use crate::config::{Address, PORT};

/// Four points are made of each MD5.
const POINTS_A_HASH: u32 = 4;

pub(crate) struct Ring {
    /// In their order: where, and the index of the server.
    points: Vec<(u32, usize)>,
}

impl Ring {
    pub(crate) fn new(servers: &[Address]) -> Self {
        let mut points = Vec::new();
        if servers.len() > 1 {
            for (index, server) in servers.iter().enumerate() {
                for hash in 0..hashes(servers.len()) {
                    let digest = Md5::digest(label(server, hash));
                    let (words, _) = digest.as_chunks::<4>();
                    points.extend(words.iter().map(|word| (u32::from_le_bytes(*word), index)));
                }
            }
        }
        // Two servers may have the same point: then too it does not matter in which order they are named.
        points.sort_unstable_by_key(|&(point, index)| (point, &servers[index]));
        Self { points }
    }

    /// The index of the server that a name lives on.
    pub(crate) fn server(&self, name: &str) -> usize {
        if self.points.is_empty() {
            return 0;
        }
        let digest = Md5::digest(name);
        let (words, _) = digest.as_chunks::<4>();
        let at = u32::from_le_bytes(words[0]);
        let next = self.points.partition_point(|(point, _)| *point < at);
        self.points[next % self.points.len()].1
    }
}

/// A server's name on the circle: without the port where it is Memcached's own.
fn label(server: &Address, hash: u32) -> String {
    match server.port {
        PORT => format!("{}-{hash}", server.host),
        port => format!("{}:{port}-{hash}", server.host),
    }
}

/// How many hashes each of so many servers has: 40, or one less where the single precision of libmemcached's
/// sum has it so.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "it is libmemcached's sum; the result is around 40"
)]
fn hashes(servers: usize) -> u32 {
    let share = 1.0_f32 / servers as f32;
    let each = share * (40 * POINTS_A_HASH) as f32 / POINTS_A_HASH as f32 * servers as f32;
    ((f64::from(each) + 0.000_000_000_1) as f32).floor() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(servers: &[&str]) -> Ring {
        let server = |server: &&str| {
            let (host, port) = server.split_once(':').unwrap();
            Address {
                host: host.to_owned(),
                port: port.parse().unwrap(),
            }
        };
        Ring::new(&servers.iter().map(server).collect::<Vec<_>>())
    }

    fn servers_of(ring: &Ring, keys: usize) -> String {
        let server = |key| {
            let server = ring.server(&format!("key:{key}"));
            char::from_digit(u32::try_from(server).unwrap(), 36).unwrap()
        };
        (0..keys).map(server).collect()
    }

    /// Where pylibmc 1.6.3 (libmemcached 1.0.16, `ketama_weighted`) puts the same keys.
    #[test]
    fn keys_are_where_libmemcached_looks_for_them() {
        let two = ["127.0.0.1:21001", "127.0.0.1:21002"];
        assert_eq!(
            servers_of(&ring(&two), 60),
            "010101011000010100111101101111101011001011000111110010111111"
        );
        // One with Memcached's own port, which is left out of its name.
        let three = ["127.0.0.1:21001", "127.0.0.1:21002", "127.0.0.1:11211"];
        assert_eq!(
            servers_of(&ring(&three), 60),
            "012121212202012222211201221212221021021011000121110020211111"
        );
        // So many of which each has one hash less.
        let names: Vec<_> = (21001..=21025)
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        assert_eq!(
            servers_of(&ring(&names), 200),
            concat!(
                "0m568o7di99lgn979nm4dkolikn5odlmo0kh0b1mn3840ffd136cck8ac44f3mfnfob9fjlj5cjf0698",
                "5ign19k8ln0cg16fhc9ko02a9107dai8memj67c777a74fc9j3gccgb036n62iii2ejd7m2l51bgcacd",
                "jng7lkjdeffn1da4g79md6cb6g9b99a08lg2d759"
            )
        );
    }

    #[test]
    fn one_server_has_all_keys() {
        assert_eq!(servers_of(&ring(&["h:1"]), 10), "0000000000");
    }

    #[test]
    fn the_order_of_the_servers_does_not_matter_and_each_has_its_share() {
        let (one, other) = (ring(&["a:1", "b:2", "c:3"]), ring(&["c:3", "a:1", "b:2"]));
        let mut shares = [0; 3];
        for key in 0..3000 {
            let key = format!("key {key}");
            let index = one.server(&key);
            shares[index] += 1;
            assert_eq!(["a", "b", "c"][index], ["c", "a", "b"][other.server(&key)]);
        }
        assert!(shares.iter().all(|share| *share > 600), "{shares:?}");
    }

    /// One of their points is the same, 3799043921, and the first after that of this key.
    #[test]
    fn nor_does_it_where_two_servers_share_a_point() {
        let (one, other) = ("10.0.2.152:1", "10.0.3.134:1");
        let places = [ring(&[one, other]), ring(&[other, one])].map(|ring| ring.server("key 27"));
        assert_eq!(places, [0, 1]);
    }

    #[test]
    fn another_server_takes_keys_and_moves_no_others() {
        let (two, three) = (ring(&["a:1", "b:2"]), ring(&["a:1", "b:2", "c:3"]));
        for key in 0..1000 {
            let key = format!("key {key}");
            let (before, after) = (two.server(&key), three.server(&key));
            assert!(after == before || after == 2, "{key}");
        }
    }
}
