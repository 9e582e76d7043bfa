//! `ringway health`: the container's health check, so that the image needs no curl.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::cli::HealthArgs;
use crate::outcome::Failure;

/// A proxy that takes longer is not well.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the admin API.
///
/// # Errors
/// [`Failure::Run`] when it does not answer 200 in time.
pub(crate) fn run(args: &HealthArgs) -> Result<(), Failure> {
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let status = ask(&args.admin, path).map_err(|error| {
        Failure::Run(format!("{}{path} does not answer: {error}{}", args.admin, hint(&error)))
    })?;
    if status.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    Err(Failure::Run(format!("{}{path} answers: {}", args.admin, status.escape_debug())))
}

/// A listener that waits for a TLS handshake closes when it gets something else.
fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
            "; if it speaks TLS (admin.tls), ask at admin.metrics_listen, which does not"
        }
        _ => "",
    }
}

/// The first line of the answer.
fn ask(admin: &str, path: &str) -> std::io::Result<String> {
    let address = admin.to_socket_addrs()?.next().ok_or(std::io::ErrorKind::AddrNotAvailable)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
