//! Keys are bytes, JSON is text: base64 in both directions, for keys that are not UTF-8.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde::Serialize;

use crate::error::ApiError;

/// Standard alphabet, padded or not.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes a query value: the standard or the URL-safe alphabet, padded or not, and with `+` even where the URL's
/// encoding made it a space.
///
/// # Errors
/// 400.
pub(crate) fn decode(text: &[u8]) -> Result<Vec<u8>, ApiError> {
    let standard = |byte: &u8| match byte {
        b' ' | b'-' => b'+',
        b'_' => b'/',
        other => *other,
    };
    let text: Vec<u8> = text.iter().map(standard).collect();
    LENIENT.decode(text).map_err(|_| ApiError::bad_request("`key_base64` is not base64"))
}

/// A key alone: as text when it is UTF-8, as base64 otherwise.
#[derive(Debug, Serialize)]
pub(crate) enum Key {
    /// It is text.
    #[serde(rename = "key")]
    Text(String),
    /// It is not.
    #[serde(rename = "key_base64")]
    Binary(String),
}

impl From<Vec<u8>> for Key {
    fn from(key: Vec<u8>) -> Self {
        match String::from_utf8(key) {
            Ok(text) => Self::Text(text),
            Err(binary) => Self::Binary(STANDARD.encode(binary.as_bytes())),
        }
    }
}

/// A key and its hashed part: as text when both are UTF-8, as base64 otherwise.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Bytes<'a> {
    /// Both are text.
    Text {
        /// The key.
        key: &'a str,
        /// What of it is hashed.
        hashed_part: &'a str,
    },
    /// At least one is not.
    Binary {
        /// The key.
        key_base64: String,
        /// What of it is hashed.
        hashed_part_base64: String,
    },
}

impl<'a> Bytes<'a> {
    pub(crate) fn new(key: &'a [u8], hashed_part: &'a [u8]) -> Self {
        match (std::str::from_utf8(key), std::str::from_utf8(hashed_part)) {
            (Ok(key), Ok(hashed_part)) => Self::Text { key, hashed_part },
            _ => Self::Binary {
                key_base64: STANDARD.encode(key),
                hashed_part_base64: STANDARD.encode(hashed_part),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_spelling_is_read() {
        for text in ["+/8=", "+/8", "-_8", " /8="] {
            assert_eq!(decode(text.as_bytes()).unwrap(), [0xfb, 0xff], "{text}");
        }
        assert!(decode(b"").unwrap().is_empty());
        for bad in ["a", "a*==", "====", "+/9="] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
