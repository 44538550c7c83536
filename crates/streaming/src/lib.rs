//! WebSocket channels and SPDY/3.1 framing for exec, attach and port-forward
