//! `If-Match`: change only what the caller has seen (RFC 9110, 13.1.1). An entity tag here is an epoch in quotes.

use axum::http::{HeaderMap, header};

use crate::error::ApiError;

/// What the caller demands of the current topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// Nothing (no header, or `*`: there always is a topology).
    None,
    /// That its epoch is one of these. Tags that are no epoch, and weak ones, can never match and are left out.
    OneOf(Vec<u64>),
}

impl Precondition {
    /// Reads `If-Match`.
    ///
    /// # Errors
    /// 400 for anything but `*` or a list of quoted tags.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut tags = Vec::new();
        let mut seen = false;
        for value in headers.get_all(header::IF_MATCH) {
            seen = true;
            let text = value.to_str().map_err(|_| malformed())?.trim();
            if text == "*" {
                return Ok(Self::None);
            }
            for tag in text.split(',').map(str::trim) {
                tags.extend(epoch_of(tag)?);
            }
        }
        Ok(if seen { Self::OneOf(tags) } else { Self::None })
    }

    /// Whether the caller demands anything.
    pub(crate) fn is_some(&self) -> bool {
        *self != Self::None
    }

    /// Compares with the epoch that holds now.
    ///
    /// # Errors
    /// 412.
    pub(crate) fn check(&self, epoch: u64) -> Result<(), ApiError> {
        match self {
            Self::OneOf(epochs) if !epochs.contains(&epoch) => Err(ApiError::precondition(format!(
                "the topology is at epoch {epoch}, which If-Match does not name; read it again and repeat the change"
            ))),
            _ => Ok(()),
        }
    }
}

/// The epoch in a tag; `None` for a well-formed tag that can never match.
fn epoch_of(tag: &str) -> Result<Option<u64>, ApiError> {
    let (weak, quoted) = match tag.strip_prefix("W/") {
        Some(rest) => (true, rest),
        None => (false, tag),
    };
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(malformed)?;
    if inner.contains('"') {
        return Err(malformed());
    }
    let number = inner.bytes().all(|byte| byte.is_ascii_digit()) && !inner.starts_with('0');
    Ok(inner.parse().ok().filter(|_| number && !weak))
}

fn malformed() -> ApiError {
    ApiError::bad_request(
        "If-Match must be the quoted epoch of GET /v1/topology, for example If-Match: \"3\", or *",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<Precondition, ApiError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, value.parse().unwrap());
        }
        Precondition::of(&headers)
    }

    #[test]
    fn tags_are_read_as_the_standard_has_them() {
        assert_eq!(read(&[]), Ok(Precondition::None));
        assert_eq!(read(&["*"]), Ok(Precondition::None));
        assert_eq!(read(&["\"3\""]), Ok(Precondition::OneOf(vec![3])));
        assert_eq!(read(&["\"3\", \"4\"", "\"5\""]), Ok(Precondition::OneOf(vec![3, 4, 5])));
        for never in ["W/\"3\"", "\"x\"", "\"\"", "\"03\"", "\"+3\"", "\"99999999999999999999\""] {
            assert_eq!(read(&[never]), Ok(Precondition::OneOf(vec![])), "{never}");
        }
        for bad in ["3", "\"3", "3\"", "", "\"3\"\"4\"", "\"3\",", "w/\"3\""] {
            assert_eq!(read(&[bad]).unwrap_err().status, 400, "{bad}");
        }
    }

    #[test]
    fn only_a_named_epoch_passes() {
        let some = Precondition::OneOf(vec![3, 4]);
        assert!(some.check(4).is_ok());
        assert_eq!(some.check(5).unwrap_err().status, 412);
        assert!(Precondition::None.check(5).is_ok());
        assert_eq!(Precondition::OneOf(vec![]).check(1).unwrap_err().status, 412);
    }
}
