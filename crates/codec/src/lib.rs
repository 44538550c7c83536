//! JSON, YAML and protobuf: strict decoding, negotiation and transcoding
