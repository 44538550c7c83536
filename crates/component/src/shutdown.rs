//! SIGTERM and SIGINT end a component in order; a second one ends it at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled at the first SIGTERM or SIGINT. At the second the process exits with 1.
pub fn on_signals() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let cancel = token.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! { _ = term.recv() => "SIGTERM", _ = int.recv() => "SIGINT" }
        };
        let name = next().await;
        tracing::info!(signal = name, "shutting down");
        cancel.cancel();
        next().await;
        tracing::error!("second signal: exiting at once");
        std::process::exit(1);
    });
    Ok(token)
}
