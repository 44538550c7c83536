//! Content negotiation: which serialisation a body has, and which one an answer gets (rule: apiserver
//! `pkg/endpoints/handlers/negotiation`).

use steersman_apimachinery::{Reason, Status};

/// A serialisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// `application/json`.
    #[default]
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl MediaType {
    /// The media type itself.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Json, Self::Yaml, Self::Protobuf].into_iter().find(|m| m.as_str().eq_ignore_ascii_case(text))
    }

    /// What a `Content-Type` header says of a body; none at all means JSON.
    pub fn of_body(content_type: &str) -> Result<Self, Status> {
        let media = content_type.split(';').next().unwrap_or("").trim();
        if content_type.trim().is_empty() {
            return Ok(Self::Json);
        }
        Self::parse(media).ok_or_else(|| {
            Status::failure(
                415,
                Reason::UnsupportedMediaType,
                format!("the body of the request was in an unknown format - accepted media types include: {ALL}"),
            )
        })
    }
}

/// Into what an object is changed for an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum As {
    /// The object itself.
    #[default]
    Object,
    /// A table of `meta.k8s.io/v1`, or `v1beta1` where the flag is set.
    Table {
        /// Whether the client asked for `v1beta1`.
        v1beta1: bool,
    },
    /// `PartialObjectMetadata`.
    PartialObjectMetadata {
        /// Whether the client asked for `v1beta1`.
        v1beta1: bool,
    },
    /// `PartialObjectMetadataList`.
    PartialObjectMetadataList {
        /// Whether the client asked for `v1beta1`.
        v1beta1: bool,
    },
    /// `APIGroupDiscoveryList` of `apidiscovery.k8s.io/v2`.
    AggregatedDiscovery,
}

/// How to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Negotiated {
    /// The serialisation.
    pub media: MediaType,
    /// The shape.
    pub shape: As,
    /// Whether the client asked for `stream=watch`.
    pub stream: bool,
    /// Whether JSON is to be indented (`pretty=1`).
    pub pretty: bool,
}

impl Negotiated {
    /// The `Content-Type` of the answer; of a stream where `watch` is set.
    pub fn content_type(&self, watch: bool) -> &'static str {
        match (self.media, watch, self.shape) {
            (MediaType::Json, _, As::AggregatedDiscovery) => {
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            }
            (MediaType::Yaml, _, As::AggregatedDiscovery) => {
                "application/yaml;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            }
            (MediaType::Protobuf, _, As::AggregatedDiscovery) => {
                "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            }
            (MediaType::Protobuf, true, _) => "application/vnd.kubernetes.protobuf;stream=watch",
            (media, _, _) => media.as_str(),
        }
    }
}

/// What an endpoint offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// A watch: streams, hence no YAML.
    pub watch: bool,
    /// The route serves lists and watches: its own check of the header lists the streams, too.
    pub list: bool,
    /// Tables and partial metadata.
    pub shapes: bool,
    /// Aggregated discovery.
    pub discovery: bool,
}

const ALL: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
const STREAMS: &str = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

/// One clause of an `Accept` header.
struct Clause<'a> {
    media: &'a str,
    quality: f64,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Clause<'_> {
    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, v)| v)
    }
}

/// The clauses, best first; equal ones in the order of the header, but wildcards behind.
fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut out: Vec<Clause<'_>> = accept
        .split(',')
        .filter_map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next().filter(|m| !m.is_empty())?;
            let mut quality = 1.0;
            let mut parameters = Vec::new();
            for part in parts {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                if name == "q" {
                    quality = value.parse().unwrap_or(0.0);
                } else {
                    parameters.push((name, value.trim_matches('"')));
                }
            }
            Some(Clause { media, quality, parameters })
        })
        .collect();
    let wildness = |c: &Clause<'_>| match c.media.split_once('/') {
        Some(("*", "*")) => 2,
        Some((_, "*")) => 1,
        _ => 0,
    };
    out.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(wildness(a).cmp(&wildness(b))));
    out
}

/// Chooses how to answer a request.
pub fn negotiate(accept: &str, offer: Offer) -> Result<Negotiated, Status> {
    if accept.trim().is_empty() {
        return Ok(Negotiated::default());
    }
    let clauses = clauses(accept);
    // The router looks at the bare media types first.
    if !clauses.iter().any(|c| c.media == "*/*" || MediaType::parse(c.media).is_some()) {
        let more = if offer.list { format!(", {STREAMS}") } else { String::new() };
        let message = format!("406: Not Acceptable\n\nAvailable representations: {ALL}{more}");
        return Err(Status::failure(406, Reason::NotAcceptable, message));
    }
    for clause in &clauses {
        let media = match clause.media {
            "*/*" | "application/*" => MediaType::Json,
            other => match MediaType::parse(other) {
                Some(media) => media,
                None => continue,
            },
        };
        if let Some(chosen) = fit(clause, media, offer) {
            return Ok(chosen);
        }
    }
    let accepted = if offer.watch { STREAMS } else { ALL };
    Err(Status::failure(406, Reason::NotAcceptable, format!("only the following media types are accepted: {accepted}")))
}

/// Whether the parameters of a clause are ones that the endpoint can honour.
fn fit(clause: &Clause<'_>, media: MediaType, offer: Offer) -> Option<Negotiated> {
    if offer.watch && media == MediaType::Yaml {
        return None;
    }
    let stream = match clause.parameter("stream") {
        "" => false,
        "watch" if offer.watch => true,
        _ => return None,
    };
    let (shape, group, version) = (clause.parameter("as"), clause.parameter("g"), clause.parameter("v"));
    let beta = version == "v1beta1";
    let meta = offer.shapes && group == "meta.k8s.io" && (version == "v1" || beta);
    let shape = match shape {
        "" => As::Object,
        "Table" if meta && media != MediaType::Protobuf => As::Table { v1beta1: beta },
        "PartialObjectMetadata" if meta => As::PartialObjectMetadata { v1beta1: beta },
        "PartialObjectMetadataList" if meta => As::PartialObjectMetadataList { v1beta1: beta },
        "APIGroupDiscoveryList" if offer.discovery && group == "apidiscovery.k8s.io" && version == "v2" => {
            As::AggregatedDiscovery
        }
        _ => return None,
    };
    let pretty = clause.parameter("pretty") == "1";
    Some(Negotiated { media, shape, stream, pretty })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: Offer = Offer { watch: false, list: false, shapes: true, discovery: false };

    #[test]
    fn accept_headers() {
        let check = |accept: &str, want: Result<(MediaType, As), &str>| {
            let got = negotiate(accept, OBJECT).map(|n| (n.media, n.shape)).map_err(|s| s.message);
            assert_eq!(got, want.map_err(str::to_owned), "{accept}");
        };
        let list = "only the following media types are accepted: application/json, application/yaml, \
                    application/vnd.kubernetes.protobuf";
        let router = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
                      application/vnd.kubernetes.protobuf";
        let table = As::Table { v1beta1: false };
        check("", Ok((MediaType::Json, As::Object)));
        check("*/*", Ok((MediaType::Json, As::Object)));
        check("text/html, */*;q=0.1", Ok((MediaType::Json, As::Object)));
        check("application/yaml", Ok((MediaType::Yaml, As::Object)));
        check("application/yaml;q=0.5, application/vnd.kubernetes.protobuf", Ok((MediaType::Protobuf, As::Object)));
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Ok((MediaType::Json, table)));
        check("application/json;as=Table;g=nope;v=v1,application/json", Ok((MediaType::Json, As::Object)));
        check(
            "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io",
            Ok((MediaType::Json, table)),
        );
        check("application/json;as=Nope;g=meta.k8s.io;v=v1", Err(list));
        check("application/json;as=Table;g=meta.k8s.io;v=v9", Err(list));
        check("application/xml", Err(router));
        check("application/*", Err(router));
        check("application/cbor, application/json", Ok((MediaType::Json, As::Object)));
    }

    #[test]
    fn watches_have_no_yaml() {
        let watch = Offer { watch: true, list: true, shapes: true, discovery: false };
        assert_eq!(
            negotiate("application/yaml", watch).expect_err("no stream").message,
            "only the following media types are accepted: application/json;stream=watch, \
             application/vnd.kubernetes.protobuf;stream=watch"
        );
        let got = negotiate("application/json;stream=watch", watch).expect("a stream");
        assert_eq!((got.stream, got.content_type(true)), (true, "application/json"));
    }

    #[test]
    fn content_types() {
        for (text, want) in [
            ("", Some(MediaType::Json)),
            ("application/json; charset=utf-8", Some(MediaType::Json)),
            ("application/yaml", Some(MediaType::Yaml)),
            ("text/json", None),
        ] {
            assert_eq!(MediaType::of_body(text).ok(), want, "{text}");
        }
    }
}
