//! What carries `exec`, `attach` and `port-forward`: SPDY/3.1 and WebSocket, on the serving and the asking side.
//!
//! Entry points: [`spdy::Session`] (many streams in one connection), [`websocket`] (the channel protocols and the
//! tunnel of kubectl's port-forward), [`upgrade`] (leaving HTTP/1.1 for either), and [`bridge`] (a WebSocket client on
//! one side, a SPDY server such as a container runtime on the other).
//!
//! Invariant: this crate never knows a pod or a container, never panics on bytes from a peer, and holds a bounded
//! amount of memory for each connection.

pub mod bridge;
pub mod spdy;
pub mod upgrade;
pub mod websocket;

/// Which stream of a remote command some bytes belong to; the numbers are those of the WebSocket channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Channel {
    /// Input of the command.
    Stdin = 0,
    /// Output of the command.
    Stdout = 1,
    /// Error output of the command; absent with a terminal.
    Stderr = 2,
    /// How the command ended, a `Status` as JSON.
    Error = 3,
    /// Changes of the terminal's size, `{"Width":..,"Height":..}` each.
    Resize = 4,
}

impl Channel {
    /// The value of the SPDY header `streamType`.
    pub fn stream_type(self) -> &'static str {
        match self {
            Channel::Stdin => "stdin",
            Channel::Stdout => "stdout",
            Channel::Stderr => "stderr",
            Channel::Error => "error",
            Channel::Resize => "resize",
        }
    }

    /// The channel with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        [Channel::Stdin, Channel::Stdout, Channel::Stderr, Channel::Error, Channel::Resize]
            .into_iter()
            .find(|c| *c as u8 == number)
    }
}

/// Which streams a remote command has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streams {
    /// The client sends input.
    pub stdin: bool,
    /// The client wants output.
    pub stdout: bool,
    /// The client wants error output on a stream of its own.
    pub stderr: bool,
    /// The command has a terminal.
    pub tty: bool,
}
