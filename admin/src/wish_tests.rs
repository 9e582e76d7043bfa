//! Edits and the JSON they come as.

use super::*;
use axum::body::Body;
use ringway_proxy::settings::Secret;

fn current() -> TopologySpec {
    let mut nodes = vec![NodeSpec::new("a", "127.0.0.1:1"), NodeSpec::new("b", "127.0.0.1:2")];
    nodes[0].credentials = Credentials { username: Some("u".into()), password: Some(Secret::new("p")) };
    TopologySpec { ring: ringway_ring::RingConfig::default(), nodes }
}

async fn edit<T>(json: &str) -> Result<Edit, ApiError>
where
    T: serde::de::DeserializeOwned + Checked + Into<Edit>,
{
    crate::body::read::<T>(Body::from(json.to_owned())).await.map(Into::into)
}

async fn wished(json: &str) -> Result<TopologySpec, ApiError> {
    edit::<PlanBody>(json).await?.of(&current())
}

fn names(spec: &TopologySpec) -> Vec<(&str, u32)> {
    spec.nodes.iter().map(|node| (node.name.as_str(), node.weight)).collect()
}

#[tokio::test]
async fn edits_give_the_whole_list() {
    let json = r#"{"add":[{"name":"c","address":"h:3","weight":5}],"remove":["a"],"reweight":{"b":7}}"#;
    assert_eq!(names(&wished(json).await.unwrap()), [("b", 7), ("c", 5)]);
    let replaced = wished(r#"{"nodes":[{"name":"b","address":"h:9"}]}"#).await.unwrap();
    assert_eq!((replaced.nodes[0].address.as_str(), replaced.nodes[0].weight), ("h:9", 1));
    let renewed = wished(r#"{"remove":["a"],"add":[{"name":"a","address":"h:4"}]}"#).await.unwrap();
    assert_eq!(names(&renewed), [("b", 1), ("a", 1)]);
    assert_eq!(renewed.nodes[1].credentials, Credentials::default(), "a new node starts without credentials");
}

#[tokio::test]
async fn refusals_have_the_status_of_their_kind() {
    for (json, status) in [
        (r#"{"remove":["x"]}"#, 404),
        (r#"{"remove":["a","a"]}"#, 404),
        (r#"{"reweight":{"x":1}}"#, 404),
        (r#"{"remove":["a"],"reweight":{"a":1}}"#, 404),
        (r#"{"add":[{"name":"a","address":"h:1"}]}"#, 409),
        (r#"{"add":[{"name":"c","address":"h:1"},{"name":"c","address":"h:2"}]}"#, 409),
        (r#"{"remove":["a","b"]}"#, 422),
        (r#"{"nodes":[]}"#, 422),
        ("{}", 400),
        (r#"{"nodes":[],"remove":["a"]}"#, 400),
        (r#"{"reweight":{"a":-1}}"#, 400),
        (r#"{"reweight":{"a":1.5}}"#, 400),
        (r#"{"add":[{"address":"h:1"}]}"#, 400),
        (r#"{"remove":["a"],"remove":["b"]}"#, 400),
        (r#"[]"#, 400),
        (r#"{"remove":["a"]} x"#, 400),
    ] {
        assert_eq!(wished(json).await.unwrap_err().status.as_u16(), status, "{json}");
    }
}

#[tokio::test]
async fn too_many_nodes_are_refused_unless_they_were_there() {
    let many = |count: usize| {
        let nodes: Vec<String> =
            (0..count).map(|at| format!(r#"{{"name":"n{at}","address":"h:1"}}"#)).collect();
        format!(r#"{{"nodes":[{}]}}"#, nodes.join(","))
    };
    assert!(wished(&many(limits::NODES)).await.is_ok());
    assert_eq!(wished(&many(limits::NODES + 1)).await.unwrap_err().status, 422);
    let mut large = current();
    large.nodes = (0..=limits::NODES).map(|at| NodeSpec::new(format!("n{at}"), "h:1")).collect();
    let fewer = edit::<PlanBody>(r#"{"remove":["n0"]}"#).await.unwrap();
    assert!(fewer.of(&large).is_ok());
    let heavier = edit::<PlanBody>(r#"{"reweight":{"n0":2}}"#).await.unwrap();
    assert!(heavier.of(&large).is_ok());
}

#[tokio::test]
async fn an_unknown_field_names_its_place_and_the_nearest_known_one() {
    let error =
        wished(r#"{"add":[{"name":"c","address":"h:1"},{"name":"d","adress":"h:2","address":"h"}]}"#).await;
    let error = error.unwrap_err();
    assert_eq!(error.status, 400);
    assert_eq!(error.message, "add[1]: unknown field `adress`; did you mean `address`?");
    // also where the one that was meant is missing
    let error = wished(r#"{"add":[{"name":"c","adress":"h:1"}]}"#).await.unwrap_err();
    assert_eq!(error.message, "add[0]: unknown field `adress`; did you mean `address`?");
    let error = edit::<ListBody>(r#"{"node":[]}"#).await.unwrap_err();
    assert_eq!(error.message, "unknown field `node`; did you mean `nodes`?");
    let error = wished(r#"{"nods":[]}"#).await.unwrap_err();
    assert!(error.message.contains("did you mean `nodes`?"), "{}", error.message);
}

#[tokio::test]
async fn what_must_be_there_is_named_with_its_place() {
    for (json, told) in [
        (r#"{"nodes":[{"name":"c"}]}"#, "nodes[0]: `address` is missing"),
        (r#"{"nodes":[{"name":"c","address":"h:1"},{"address":"h:1"}]}"#, "nodes[1]: `name` is missing"),
        ("{}", "`nodes` is missing"),
    ] {
        let error = edit::<ListBody>(json).await.unwrap_err();
        assert_eq!((error.status.as_u16(), error.message.as_str()), (400, told));
    }
    let error = crate::body::read::<NodeBody>(Body::from(r#"{"address":"h:1"}"#)).await.unwrap_err();
    assert_eq!(error.message, "`name` is missing");
}

#[tokio::test]
async fn deep_json_is_refused_without_a_stack_overflow() {
    let half = limits::BODY_BYTES / 2 - 32;
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let depth = half / open.len();
        let json = format!(r#"{{"nodes":{}1{}}}"#, open.repeat(depth), close.repeat(depth));
        assert_eq!(wished(&json).await.unwrap_err().status, 400);
        let json = format!(r#"{{"x":{}1{}}}"#, open.repeat(depth), close.repeat(depth));
        assert_eq!(wished(&json).await.unwrap_err().status, 400);
    }
}

#[tokio::test]
async fn credentials_stay_with_the_name_until_they_are_changed() {
    let kept =
        wished(r#"{"nodes":[{"name":"a","address":"h:1"},{"name":"c","address":"h:2"}]}"#).await.unwrap();
    assert_eq!(kept.nodes[0].credentials, current().nodes[0].credentials);
    assert_eq!(kept.nodes[1].credentials, Credentials::default());
    let cleared = wished(r#"{"nodes":[{"name":"a","address":"h:1","username":null,"password":null}]}"#).await;
    assert_eq!(cleared.unwrap().nodes[0].credentials, Credentials::default());
    let patch: PatchBody = serde_json::from_str(r#"{"password":"new"}"#).unwrap();
    let patched = Edit::Patch("a".into(), patch).of(&current()).unwrap();
    assert_eq!(patched.nodes[0].credentials.username.as_deref(), Some("u"));
    assert_eq!(patched.nodes[0].credentials.password, Some(Secret::new("new")));
}

#[tokio::test]
async fn a_patch_changes_something_and_never_the_name() {
    for json in ["{}", r#"{"name":"z"}"#, r#"{"weigth":2}"#] {
        let result = crate::body::read::<PatchBody>(Body::from(json)).await;
        assert_eq!(result.unwrap_err().status, 400, "{json}");
    }
}

#[test]
fn the_history_tells_what_was_done_without_credentials() {
    let before = current();
    let mut after = current();
    after.nodes[0].weight = 2;
    after.nodes[0].credentials.password = Some(Secret::new("very-secret"));
    after.nodes[1] = NodeSpec::new("c", "127.0.0.1:3");
    let text = describe(&before, &after);
    assert_eq!(
        text,
        "reweight a from 1 to 2, change the credentials of a, add c (127.0.0.1:3, weight 1), remove b"
    );
    assert_eq!(describe(&before, &before), "no difference");
}
