//! What goes wrong with a request: one status, one code for scripts, one text for people, always as JSON.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ringway_proxy::control::ApplyError;
use serde::Serialize;

use crate::audit::ErrorCode;

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    code: &'a str,
    message: &'a str,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// The request cannot be read.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// The request is read, what it wishes for is not possible.
    pub(crate) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_topology", message)
    }

    pub(crate) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    pub(crate) fn precondition(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "epoch_changed", message)
    }

    pub(crate) fn unknown_node(name: &str) -> Self {
        let name: String = name.chars().take(64).collect();
        let message = format!("there is no node '{}'", name.escape_debug());
        Self::new(StatusCode::NOT_FOUND, "unknown_node", message)
    }

    pub(crate) fn too_large() -> Self {
        let message = format!("the body is larger than {} bytes", crate::limits::BODY_BYTES);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    /// Something in here failed that no request should be able to cause.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl From<ApplyError> for ApiError {
    fn from(error: ApplyError) -> Self {
        let message = error.to_string();
        match error {
            ApplyError::Epoch { .. } => Self::precondition(message),
            ApplyError::Topology(_) => Self::unprocessable(message),
            ApplyError::Unresolvable { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unresolvable_address", message)
            }
            ApplyError::OwnAddress { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "own_address", message)
            }
            ApplyError::NoTls { .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "no_node_tls", message),
            ApplyError::NoSentinels { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "no_sentinels", message)
            }
            ApplyError::NothingToUndo => Self::conflict("nothing_to_undo", message),
            ApplyError::StillMoving(_) => Self::conflict("still_moving", message),
            ApplyError::NothingMoves => Self::conflict("nothing_moves", message),
            ApplyError::CannotMove(_) => Self::conflict("cannot_move", message),
            ApplyError::Follows(_) => Self::conflict("follows", message),
            ApplyError::Held(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "handing_over", message),
            ApplyError::NotKept(_) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "not_kept", message),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Envelope { error: Inner { code: self.code, message: &self.message } };
        let mut response = (self.status, Json(&body)).into_response();
        response.extensions_mut().insert(ErrorCode(self.code));
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer realm=\"ringway\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}
