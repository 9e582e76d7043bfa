//! The older key hashes of twemproxy: FNV, Jenkins's two, Hsieh's.
//!
//! twemproxy reads bytes as C's `char`, which is signed on x86-64: where `signed` stands below, a byte from 0x80 on
//! counts as a negative number, and without it about two thirds of such keys would go elsewhere on three servers. FNV
//! is that of Fowler, Noll and Vo (RFC 9923); its 64-bit forms keep the low word.

/// A byte as C's signed `char`, widened.
fn signed(byte: u8) -> u32 {
    i32::from(byte.cast_signed()).cast_unsigned()
}

const FNV_64_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_64_PRIME: u64 = 0x0100_0000_01b3;
const FNV_32_BASIS: u32 = 0x811c_9dc5;
const FNV_32_PRIME: u32 = 0x0100_0193;

pub(super) fn fnv1_64(key: &[u8]) -> u32 {
    let step = |hash: u64, &byte: &u8| {
        hash.wrapping_mul(FNV_64_PRIME) ^ i64::from(byte.cast_signed()).cast_unsigned()
    };
    key.iter().fold(FNV_64_BASIS, step) as u32
}

/// twemproxy computes this one with the low words of basis and prime.
pub(super) fn fnv1a_64(key: &[u8]) -> u32 {
    let step = |hash: u32, &byte: &u8| (hash ^ signed(byte)).wrapping_mul(FNV_64_PRIME as u32);
    key.iter().fold(FNV_64_BASIS as u32, step)
}

pub(super) fn fnv1_32(key: &[u8]) -> u32 {
    let step = |hash: u32, &byte: &u8| hash.wrapping_mul(FNV_32_PRIME) ^ signed(byte);
    key.iter().fold(FNV_32_BASIS, step)
}

pub(super) fn fnv1a_32(key: &[u8]) -> u32 {
    let step = |hash: u32, &byte: &u8| (hash ^ signed(byte)).wrapping_mul(FNV_32_PRIME);
    key.iter().fold(FNV_32_BASIS, step)
}

/// Bob Jenkins, "Hash functions", Dr. Dobb's Journal 1997.
pub(super) fn one_at_a_time(key: &[u8]) -> u32 {
    let mut hash = key.iter().fold(0_u32, |hash, &byte| {
        let hash = hash.wrapping_add(signed(byte));
        let hash = hash.wrapping_add(hash << 10);
        hash ^ (hash >> 6)
    });
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

/// Paul Hsieh's SuperFastHash, begun with 0. Only the last of three left-over bytes is signed.
pub(super) fn hsieh(key: &[u8]) -> u32 {
    let half = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]));
    let (words, rest) = key.as_chunks::<4>();
    let mut hash = words.iter().fold(0_u32, |hash, word| {
        let hash = hash.wrapping_add(half(word[0], word[1]));
        let hash = (hash << 16) ^ ((half(word[2], word[3]) << 11) ^ hash);
        hash.wrapping_add(hash >> 11)
    });
    match *rest {
        [a, b, c] => {
            hash = hash.wrapping_add(half(a, b));
            hash ^= hash << 16;
            hash ^= signed(c) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        [a, b] => {
            hash = hash.wrapping_add(half(a, b));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        [a] => {
            hash = hash.wrapping_add(a.into());
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => {}
    }
    hash ^= hash << 3;
    hash = hash.wrapping_add(hash >> 5);
    hash ^= hash << 4;
    hash = hash.wrapping_add(hash >> 17);
    hash ^= hash << 25;
    hash.wrapping_add(hash >> 6)
}

/// Bob Jenkins, lookup3 (2006), `hashlittle` with twemproxy's initial value 13.
pub(super) fn jenkins(key: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(key.len() as u32).wrapping_add(13);
    let mut state = [start; 3];
    let mut rest = key;
    while let Some((block, after)) = rest.split_first_chunk::<12>().filter(|(_, after)| !after.is_empty()) {
        add(&mut state, block);
        mix(&mut state);
        rest = after;
    }
    if rest.is_empty() {
        return state[2];
    }
    let mut block = [0; 12];
    block[..rest.len()].copy_from_slice(rest);
    add(&mut state, &block);
    finish(state)
}

fn add(state: &mut [u32; 3], block: &[u8; 12]) {
    for (word, bytes) in state.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = word.wrapping_add(u32::from_le_bytes(*bytes));
    }
}

/// lookup3's `mix`: (target, subtracted, rotation) with the third word added to the second.
fn mix([a, b, c]: &mut [u32; 3]) {
    let step = |x: &mut u32, y: &mut u32, z: &mut u32, rotation: u32| {
        *x = x.wrapping_sub(*z) ^ z.rotate_left(rotation);
        *z = z.wrapping_add(*y);
    };
    step(a, b, c, 4);
    step(b, c, a, 6);
    step(c, a, b, 8);
    step(a, b, c, 16);
    step(b, c, a, 19);
    step(c, a, b, 4);
}

/// lookup3's `final`.
fn finish([mut a, mut b, mut c]: [u32; 3]) -> u32 {
    let step = |x: u32, y: u32, rotation: u32| (x ^ y).wrapping_sub(y.rotate_left(rotation));
    c = step(c, b, 14);
    a = step(a, c, 11);
    b = step(b, a, 25);
    c = step(c, b, 16);
    a = step(a, c, 4);
    b = step(b, a, 14);
    step(c, b, 24)
}
