//! Reading a JSON body: bounded in bytes and time, refused with a text that says where and how to mend it.

use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use ringway_proxy::settings::Secret;
use serde::de::{DeserializeOwned, Error, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::error::ApiError;
use crate::limits;

/// Fields that the format does not have. Collected rather than denied by serde, so that the error can name the
/// nearest field there is.
pub(crate) type Unknown = BTreeMap<String, IgnoredAny>;

/// A body that knows its own fields.
pub(crate) trait Checked {
    /// Refuses unknown fields, here and in what it contains.
    fn check(&self) -> Result<(), ApiError>;
}

/// The whole body as `T`.
///
/// # Errors
/// 413 when it is too large, 408 when it does not come, 400 when it is not such JSON.
pub(crate) async fn read<T: DeserializeOwned + Checked>(body: Body) -> Result<T, ApiError> {
    let bytes = bytes(body).await?;
    if bytes.is_empty() {
        return Err(ApiError::bad_request("this call needs a JSON body"));
    }
    // serde_json gives up at a depth of 128 by itself: deep JSON is an error, not an overflow of the stack
    let value: T = serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request(format!("the body is not the JSON expected: {error}")))?;
    value.check()?;
    Ok(value)
}

/// Makes sure that a call that takes no body has none (an empty object passes, some clients always send one).
pub(crate) async fn none(body: Body) -> Result<(), ApiError> {
    match bytes(body).await?.trim_ascii() {
        b"" | b"{}" => Ok(()),
        _ => Err(ApiError::bad_request("this call takes no body")),
    }
}

async fn bytes(body: Body) -> Result<axum::body::Bytes, ApiError> {
    let whole = tokio::time::timeout(limits::BODY_TIME, to_bytes(body, limits::BODY_BYTES));
    match whole.await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => Err(ApiError::too_large()),
        Ok(Err(_)) => Err(ApiError::bad_request("the body broke off")),
        Err(_) => {
            let message = format!("the body did not come within {} s", limits::BODY_TIME.as_secs());
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", message))
        }
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    std::iter::from_fn(|| {
        let this = cause?;
        cause = this.source();
        Some(this)
    })
    .any(|error| error.is::<http_body_util::LengthLimitError>())
}

/// Refuses the first unknown field, naming the nearest known one.
pub(crate) fn check_unknown(place: &str, unknown: &Unknown, known: &[&str]) -> Result<(), ApiError> {
    let Some(field) = unknown.keys().next() else { return Ok(()) };
    let shown: String = field.chars().take(64).collect();
    let hint = match nearest(field, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known are {}", known.join(", ")),
    };
    Err(ApiError::bad_request(format!("{place}unknown field `{}`; {hint}", shown.escape_debug())))
}

/// The known name that `name` was most likely meant to be.
pub(crate) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    if name.len() > 64 {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let scored = known.iter().map(|known| (strsim::damerau_levenshtein(&lower, known), *known));
    scored.min().filter(|(distance, known)| *distance <= 1 + known.len() / 3).map(|(_, known)| known)
}

/// `null` and absent are different wishes for a PATCH: the outer `Option` is whether the field is there.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// A password in a body. Not derived: serde's errors quote what they find.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Password(pub(crate) Secret);

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(Secret::new(text))),
            _ => Err(D::Error::custom("a password must be a string or null")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_the_likely_one() {
        let known = ["name", "address", "weight", "username", "password"];
        assert_eq!(nearest("adress", &known), Some("address"));
        assert_eq!(nearest("Weight", &known), Some("weight"));
        assert_eq!(nearest("wieght", &known), Some("weight"));
        assert_eq!(nearest("user", &known), None);
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest(&"n".repeat(100_000), &known), None);
    }

    #[test]
    fn a_password_of_the_wrong_type_is_not_quoted() {
        let error = serde_json::from_str::<Password>("12345678").unwrap_err().to_string();
        assert!(!error.contains("1234"), "{error}");
    }

    #[tokio::test]
    async fn too_much_is_413() {
        let error = none(Body::from(vec![b' '; limits::BODY_BYTES + 1])).await.unwrap_err();
        assert_eq!(error.status, 413);
        assert!(none(Body::from(" {} ")).await.is_ok());
        assert_eq!(none(Body::from("x")).await.unwrap_err().status, 400);
    }
}
