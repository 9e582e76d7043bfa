//! The query of a URL, read strictly: a misspelt `dry_run` must not become a change.
//!
//! Values are bytes until somebody asks for text, so that a binary key is neither mended nor lost.

use percent_encoding::percent_decode;

use crate::body::nearest;
use crate::error::ApiError;
use crate::limits;

/// The parameters of one call, each at most once and each known.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, Vec<u8>)>);

impl Query {
    /// Reads the part after `?`.
    ///
    /// # Errors
    /// 400 for a parameter that the call does not know, or one that comes twice.
    pub(crate) fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, ApiError> {
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = String::from_utf8_lossy(&decode(name)).into_owned();
            if !known.contains(&name.as_str()) {
                return Err(unknown(&name, known));
            }
            if found.iter().any(|(earlier, _)| *earlier == name) {
                return Err(ApiError::bad_request(format!("query parameter `{name}` is given twice")));
            }
            found.push((name, decode(value)));
        }
        Ok(Self(found))
    }

    /// The bytes of a parameter.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    /// A parameter that is `true` or `false`; absent is `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.bytes(name) {
            None | Some(b"false") => Ok(false),
            Some(b"true") => Ok(true),
            Some(_) => Err(ApiError::bad_request(format!("query parameter `{name}` must be true or false"))),
        }
    }

    /// How many keys to sample, if any.
    pub(crate) fn sample(&self) -> Result<Option<u64>, ApiError> {
        self.keys("sample", limits::SAMPLE_KEYS)
    }

    /// A number of keys from 1 to `most`, if it is given.
    pub(crate) fn keys(&self, name: &str, most: u64) -> Result<Option<u64>, ApiError> {
        self.number(name, "number of keys", most)
    }

    /// Such a number from 1 to `most`, if it is given.
    pub(crate) fn number(&self, name: &str, what: &str, most: u64) -> Result<Option<u64>, ApiError> {
        let Some(bytes) = self.bytes(name) else { return Ok(None) };
        let number = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
        number.filter(|number| (1..=most).contains(number)).map(Some).ok_or_else(|| {
            ApiError::bad_request(format!("query parameter `{name}` must be a {what} from 1 to {most}"))
        })
    }
}

/// Percent-decoding, with `+` as a space, as browsers and HTTP libraries encode queries.
fn decode(text: &str) -> Vec<u8> {
    percent_decode(text.replace('+', " ").as_bytes()).collect()
}

fn unknown(name: &str, known: &[&str]) -> ApiError {
    let shown: String = name.chars().take(64).collect();
    let hint = match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "this call takes none".to_owned(),
        None => format!("this call takes {}", known.join(", ")),
    };
    ApiError::bad_request(format!("unknown query parameter `{}`; {hint}", shown.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_parameter_is_refused_with_the_nearest_known() {
        let error = Query::parse(Some("dryrun=true"), &["dry_run", "sample"]).unwrap_err();
        assert!(error.message.contains("did you mean `dry_run`"), "{}", error.message);
        assert!(Query::parse(Some("a=1&a=2"), &["a"]).is_err());
        assert!(Query::parse(Some("token=secret"), &[]).is_err());
    }

    #[test]
    fn values_are_read_or_refused() {
        let query =
            Query::parse(Some("key=a%00%ffb+c&dry_run=true&sample=10"), &["key", "dry_run", "sample"]);
        let query = query.unwrap();
        assert_eq!(query.bytes("key"), Some(&b"a\0\xffb c"[..]));
        assert!(query.flag("dry_run").unwrap());
        assert_eq!(query.sample().unwrap(), Some(10));
        for bad in ["sample=0", "sample=1000001", "sample=x", "sample", "sample=-1", "sample=1e3"] {
            assert!(Query::parse(Some(bad), &["sample"]).unwrap().sample().is_err(), "{bad}");
        }
        for bad in ["dry_run", "dry_run=1", "dry_run=TRUE"] {
            assert!(Query::parse(Some(bad), &["dry_run"]).unwrap().flag("dry_run").is_err(), "{bad}");
        }
    }
}
