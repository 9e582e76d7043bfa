//! twemproxy's checksums as key hashes.
//!
//! The quirks are what decides owners: `crc16` keeps shifting a 32-bit register that is never cut to 16 bits, and
//! `crc32` keeps 15 bits of the CRC-32.

/// The bits that `crc32` keeps.
pub(super) const CRC32_MASK: u32 = 0x7fff;

/// Remainders of the CCITT polynomial x^16 + x^12 + x^5 + 1 for every byte, most significant bit first.
static CRC16: [u16; 256] = crc16_table();

const fn crc16_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

pub(super) fn crc16(key: &[u8]) -> u32 {
    key.iter().fold(0_u32, |crc, &byte| {
        let index = ((crc >> 8) ^ u32::from(byte)) & 0xff;
        (crc << 8) ^ u32::from(CRC16[index as usize])
    })
}

pub(super) fn crc32a(key: &[u8]) -> u32 {
    crc32fast::hash(key)
}

pub(super) fn crc32(key: &[u8]) -> u32 {
    (crc32a(key) >> 16) & CRC32_MASK
}
