//! A cache that contains a model with pickled weights.

use likewise::Error;

use super::download::TestHub;
use super::repository::{COMMIT, ID, Repository};

/// Another program may have downloaded the pickled weights only.
#[test]
fn pickled_weights_in_the_cache_are_named_unless_the_hub_has_others() {
    let pickled = Repository::of("tiny-bert").without("model.safetensors");
    let mut test = TestHub::new(pickled);
    let snapshot = test.repository().join("snapshots").join(COMMIT);
    for (name, bytes) in crate::common::files("tiny-bert") {
        let path = snapshot.join(&name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        if name != "model.safetensors" {
            std::fs::write(path, bytes).expect("a file");
        }
    }
    std::fs::write(snapshot.join("pytorch_model.bin"), "x").expect("a file");
    std::fs::create_dir_all(test.repository().join("refs")).expect("a folder");
    std::fs::write(test.repository().join("refs/main"), COMMIT).expect("a branch");
    let is_pickled = |error: &Error| {
        let found = |found: &[String]| found.contains(&"pytorch_model.bin".to_owned());
        matches!(error, Error::NoSafetensors { found: names, .. } if found(names))
    };
    // The hub has no other weights, does not answer, or is not asked.
    let error = test.find_or_pull(ID, "main").expect_err("no weights");
    assert!(is_pickled(&error) && error.to_string().contains(&test.hub.url), "{error}");
    let endpoint = std::mem::replace(&mut test.settings.endpoint, "http://127.0.0.1:1".to_owned());
    test.settings.retry_delay = std::time::Duration::from_millis(1);
    let error = test.find_or_pull(ID, "main").expect_err("no weights");
    assert!(is_pickled(&error) && error.to_string().contains(COMMIT), "{error}");
    test.settings.offline = true;
    let error = test.find_or_pull(ID, "main").expect_err("no weights");
    assert!(is_pickled(&error) && error.to_string().contains(COMMIT), "{error}");
    // The hub has them.
    test.settings.offline = false;
    test.settings.endpoint = endpoint;
    test.hub.add_repository(ID, Repository::of("tiny-bert"));
    assert!(test.find_or_pull(ID, "main").expect("a model").join("model.safetensors").is_file());
}
