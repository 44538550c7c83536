//! Answers requests of hickory's server: from the zone, or from the resolvers of the node.

use crate::zone::{Answer, Zone};
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, OpCode, ResponseCode};
use hickory_server::proto::rr::{Name, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// Answers of each kind so far.
pub type Responses = Family<Vec<(&'static str, String)>, Counter>;

/// The handler.
pub struct Handler {
    zone: Zone,
    /// Absent where the node names no resolvers: other names are then refused.
    upstream: Option<TokioResolver>,
    responses: Responses,
}

/// What goes back.
struct Reply {
    code: ResponseCode,
    authoritative: bool,
    answers: Vec<Record>,
    soa: Vec<Record>,
    additionals: Vec<Record>,
}

impl Reply {
    fn code(code: ResponseCode) -> Self {
        Self { code, authoritative: false, answers: vec![], soa: vec![], additionals: vec![] }
    }
}

impl Handler {
    /// Over a zone.
    pub fn new(zone: Zone, upstream: Option<TokioResolver>, responses: Responses) -> Self {
        Self { zone, upstream, responses }
    }

    async fn reply(&self, request: &Request) -> Reply {
        if request.metadata.op_code != OpCode::Query {
            return Reply::code(ResponseCode::NotImp);
        }
        let Ok(info) = request.request_info() else { return Reply::code(ResponseCode::FormErr) };
        let (name, kind) = (Name::from(info.query.name().clone()), info.query.query_type());
        match self.zone.answer(&name, kind) {
            Some(answer) => self.own(answer, kind).await,
            None => self.forward(&name, kind).await,
        }
    }

    async fn own(&self, answer: Answer, kind: RecordType) -> Reply {
        let code = if answer.exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
        let soa = if answer.records.is_empty() { vec![self.zone.soa()] } else { vec![] };
        let mut answers = answer.records;
        // An external name's addresses come along, so that clients need not ask again.
        let target = match answers.first().map(|r| &r.data) {
            Some(hickory_server::proto::rr::RData::CNAME(c)) if kind != RecordType::CNAME => Some(c.0.clone()),
            _ => None,
        };
        if let Some(target) = target {
            let more = match self.zone.answer(&target, kind) {
                Some(inner) => inner.records,
                None => self.forward(&target, kind).await.answers,
            };
            answers.extend(more);
        }
        Reply { code, authoritative: true, answers, soa, additionals: answer.additionals }
    }

    async fn forward(&self, name: &Name, kind: RecordType) -> Reply {
        let Some(upstream) = &self.upstream else { return Reply::code(ResponseCode::Refused) };
        match upstream.lookup(name.clone(), kind).await {
            Ok(found) => Reply { answers: found.answers().to_vec(), ..Reply::code(ResponseCode::NoError) },
            Err(e) => Reply::code(code_of(&e)),
        }
    }
}

fn code_of(e: &NetError) -> ResponseCode {
    if e.is_nx_domain() {
        ResponseCode::NXDomain
    } else if e.is_no_records_found() {
        ResponseCode::NoError
    } else {
        ResponseCode::ServFail
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut response: R) -> ResponseInfo {
        let reply = self.reply(request).await;
        self.responses.get_or_create(&vec![("rcode", format!("{:?}", reply.code).to_uppercase())]).inc();
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = reply.code;
        metadata.authoritative = reply.authoritative;
        metadata.recursion_available = self.upstream.is_some();
        let message = MessageResponseBuilder::from_message_request(request).build(
            metadata,
            reply.answers.iter(),
            std::iter::empty(),
            reply.soa.iter(),
            reply.additionals.iter(),
        );
        match response.send_response(message).await {
            Ok(info) => info,
            Err(e) => {
                tracing::debug!(error = %e, "an answer could not be sent");
                let mut metadata = Metadata::response_from_request(&request.metadata);
                metadata.response_code = ResponseCode::ServFail;
                ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
            }
        }
    }
}
