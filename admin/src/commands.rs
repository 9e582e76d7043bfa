//! `GET /v1/commands`: what becomes of each command, from the rows by which it is handled.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use ringway_proxy::control::CommandReport;
use serde::Serialize;

use crate::error::ApiError;
use crate::query::Query;
use crate::routes::Api;

#[derive(Serialize)]
pub(crate) struct CommandsAnswer {
    commands: Vec<CommandAnswer>,
}

#[derive(Serialize)]
struct CommandAnswer {
    name: String,
    supported: bool,
    how: Option<String>,
    why_not: Option<String>,
    since: Option<&'static str>,
    keys: Vec<String>,
}

impl From<CommandReport> for CommandAnswer {
    fn from(report: CommandReport) -> Self {
        let CommandReport { name, supported, how, why_not, since, keys } = report;
        Self { name, supported, how, why_not, since, keys }
    }
}

/// `GET /v1/commands`.
pub(crate) async fn commands(State(api): State<Api>, uri: Uri) -> Result<Json<CommandsAnswer>, ApiError> {
    Query::parse(uri.query(), &[])?;
    let commands = api.control.commands().into_iter().map(CommandAnswer::from).collect();
    Ok(Json(CommandsAnswer { commands }))
}
