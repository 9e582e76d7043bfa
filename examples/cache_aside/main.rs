//! A web service with SQLite and a cache in front of it: cache-aside through Ringway.
//!
//! ```text
//!   GET /products/7 ─► cache ─hit──────────────────────────► answer      x-cache: hit
//!                        └─miss or down─► SQLite ─► fill ──► answer      x-cache: miss | down
//!   PUT /products/7 ─► SQLite ─► invalidate
//! ```
//! ```text
//! cargo run --example cache_aside -- --redis redis://127.0.0.1:6380
//! cargo run --release --example cache_aside -- --redis redis://127.0.0.1:6380 --admin http://127.0.0.1:9380 --demo
//! ```
//! Ringway is one Redis address to the service: nothing below knows that there are several servers.
//! The files: `cache.rs` is what you would copy, `shop.rs` the database, `demo.rs` the driver behind `--demo`.

mod cache;
mod demo;
mod shop;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;

use cache::{Cache, Lookup};
use shop::Shop;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A cache-aside web service on axum and SQLite, through Ringway.
#[derive(Debug, Parser)]
struct Flags {
    /// Where Ringway (or any Redis) listens.
    #[arg(long, default_value = "redis://127.0.0.1:6380")]
    redis: String,
    /// Where the service listens.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
    /// Seconds that an entry may be served, and therefore be out of date, at most.
    #[arg(long, default_value_t = 60)]
    ttl: u64,
    /// Drive the service over HTTP, change the ring meanwhile, print figures, end.
    #[arg(long)]
    demo: bool,
    /// Ringway's admin API, for --demo.
    #[arg(long, default_value = "http://127.0.0.1:9380")]
    admin: String,
    /// The token of the admin API, if it has one.
    #[arg(long, env = "RINGWAY_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// An empty Redis server that joins in --demo; without it, one is started and stopped.
    #[arg(long, value_name = "HOST:PORT")]
    add_node: Option<String>,
}

#[derive(Clone)]
struct Service {
    shop: Arc<Shop>,
    cache: Cache,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let flags = Flags::parse();
    // A run of the demo has keys of its own, so that its cold start is cold.
    let prefix = if flags.demo { format!("demo-{}", std::process::id()) } else { "shop".into() };
    let cache = Cache::new(&flags.redis, &prefix, Duration::from_secs(flags.ttl))?;
    let service = Service { shop: Arc::new(Shop::open()?), cache };
    let app = Router::new().route("/products/{id}", get(read).put(write)).with_state(service);

    let listen = if flags.demo { "127.0.0.1:0" } else { &flags.listen };
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}/products/1");
    if flags.demo {
        tokio::spawn(async move { axum::serve(listener, app).await });
        return tokio::task::spawn_blocking(move || demo::run(&flags, address)).await?;
    }
    axum::serve(listener, app).await?;
    Ok(())
}

async fn read(State(service): State<Service>, Path(id): Path<i64>) -> Result<Response, StatusCode> {
    let found = service.cache.get(id).await;
    let label = found.label();
    if let Lookup::Hit(page) = found {
        return Ok(answer(page, label));
    }
    let shop = Arc::clone(&service.shop);
    let page = blocking(move || shop.page(id)).await?.ok_or(StatusCode::NOT_FOUND)?;
    if matches!(found, Lookup::Miss) {
        service.cache.fill(id, &page).await;
    }
    Ok(answer(page, label))
}

#[derive(serde::Deserialize)]
struct Change {
    price_cents: i64,
}

async fn write(
    State(service): State<Service>,
    Path(id): Path<i64>,
    Json(change): Json<Change>,
) -> Result<StatusCode, StatusCode> {
    let shop = Arc::clone(&service.shop);
    if !blocking(move || shop.set_price(id, change.price_cents)).await? {
        return Err(StatusCode::NOT_FOUND);
    }
    // After the database, never before: a reader in between would fill the cache with the old row again.
    service.cache.invalidate(id).await;
    Ok(StatusCode::NO_CONTENT)
}

fn answer(page: String, label: &'static str) -> Response {
    ([(CONTENT_TYPE.as_str(), "application/json"), ("x-cache", label)], page).into_response()
}

/// SQLite blocks its thread, which must not be one of the runtime's.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, StatusCode> {
    let result = tokio::task::spawn_blocking(work).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    result.map_err(|error| {
        eprintln!("database: {error}");
        StatusCode::INTERNAL_SERVER_ERROR
    })
}
