//! router_config.json: which modules encode queries, documents, and other texts.
//!
//! Follows sentence-transformers 6.2.0, `base/modules/router.py`.

use serde_json::Value;

use crate::config::{self, JsonObject};
use crate::error::{Error, Result, SparseEncoderError};
use crate::files::ModelFiles;
use crate::model_folder::{CONFIG, Manifest, ModuleList, ROUTER_CONFIG};

/// What a text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// The caller did not say.
    Unspecified,
    Query,
    Document,
}

/// The routes of a model, and which of them encodes the texts of a task.
pub(super) struct Router {
    /// The names and modules of the routes.
    pub(super) routes: Vec<(String, ModuleList)>,
    keys: JsonObject,
    names: RouteNames,
}

/// The names of the routes, for errors.
pub(super) struct RouteNames {
    file: String,
    routes: Vec<String>,
}

impl RouteNames {
    /// Makes the error that texts have no route.
    pub(super) fn no_route(&self, task: Task) -> Error {
        let (file, routes) = (self.file.clone(), self.routes.clone());
        Error::SparseEncoder(Box::new(SparseEncoderError::NoRoute { file, task: task.description(), routes }))
    }
}

impl Task {
    pub(super) const ALL: [Self; 3] = [Self::Unspecified, Self::Query, Self::Document];

    /// Returns the name in sentence-transformers.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Query => Some("query"),
            Self::Document => Some("document"),
        }
    }

    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Unspecified => "texts without a task",
            Self::Query => "queries",
            Self::Document => "documents",
        }
    }
}

impl Router {
    /// Reads the file of a Router module, which older versions call config.json.
    ///
    /// # Errors
    /// If the file does not exist, or is not valid.
    pub(super) fn read(files: &ModelFiles) -> Result<Self> {
        let mut manifest = Manifest::default();
        let (name, bytes) = match manifest.read(files, ROUTER_CONFIG)? {
            Some(bytes) => (ROUTER_CONFIG, Some(bytes)),
            None => (CONFIG, manifest.read(files, CONFIG)?),
        };
        let bytes = bytes.ok_or_else(|| files.missing_file(ROUTER_CONFIG, "the routes of the Router module"))?;
        let file = files.label(name);
        let keys = JsonObject::parse(&file, &bytes)?;
        let types = keys.string_map("types")?;
        let structure =
            keys.object("structure")?.unwrap_or(JsonObject::from_value(&file, &Value::Object(<_>::default()))?);
        let mut routes = Vec::new();
        let Ordered(names) = ordered_routes(&file, &bytes)?;
        for route in names {
            let expected = || structure.invalid_value(&route, "a list of modules that `types` names");
            let modules = structure.get(&route).and_then(Value::as_array).ok_or_else(expected)?;
            let module = |path: &Value| {
                let path = path.as_str()?;
                Some((path.to_owned(), types.get(path)?.clone()))
            };
            let modules: Option<Vec<_>> = modules.iter().map(module).collect();
            routes.push((route.clone(), ModuleList::of_route(&file, &modules.ok_or_else(expected)?)?));
        }
        if routes.is_empty() {
            return Err(keys.invalid_value("structure", "at least one route"));
        }
        let parameters = keys.object("parameters")?;
        let empty = JsonObject::from_value(&file, &Value::Object(<_>::default()))?;
        let names = RouteNames { file, routes: routes.iter().map(|(name, _)| name.clone()).collect() };
        Ok(Self { routes, keys: parameters.unwrap_or(empty), names })
    }

    /// Returns the names of the routes, for errors.
    pub(super) fn into_names(self) -> RouteNames {
        self.names
    }

    /// Returns the index of the route of a task.
    ///
    /// # Errors
    /// If no route is for the task, or a value of the file is not valid.
    pub(super) fn route(&self, task: Task) -> Result<usize> {
        let index = |name: &str| self.routes.iter().position(|(route, _)| route == name);
        let mappings = self.mappings()?;
        let of_mapping = |task: Option<&str>, modality: Option<&str>| {
            let found = mappings
                .iter()
                .find(|mapping| mapping.task.as_deref() == task && mapping.modality.as_deref() == modality);
            found.map(|mapping| mapping.route.as_str())
        };
        let text = Some("text");
        let mapped = of_mapping(task.name(), text)
            .or_else(|| of_mapping(task.name(), None))
            .or_else(|| of_mapping(None, text))
            .or_else(|| of_mapping(None, None));
        if let Some(name) = mapped {
            return index(name).ok_or_else(|| self.keys.invalid_value("route_mappings", "names of routes"));
        }
        let named = task.name().and_then(index).or_else(|| index("text"));
        // The default is for texts without a task only.
        let default = || -> Result<Option<usize>> {
            if task != Task::Unspecified {
                return Ok(None);
            }
            match self.keys.string("default_route")? {
                Some(name) => {
                    index(name).map(Some).ok_or_else(|| self.keys.invalid_value("default_route", "the name of a route"))
                }
                None => Ok(self.keys.boolean("allow_empty_key")?.unwrap_or(true).then_some(0)),
            }
        };
        let found = match named {
            Some(route) => Some(route),
            None => default()?,
        };
        found.ok_or_else(|| self.names.no_route(task))
    }

    /// Reads `route_mappings`: from a pair of task and modality, written as a tuple of Python, to a
    /// route. Pairs for several modalities at once have nothing to do with texts.
    fn mappings(&self) -> Result<Vec<Mapping>> {
        let of_element = |element: &str| match element.trim() {
            "None" => Some(None),
            quoted => {
                let inner = quoted.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
                let inner = inner.or_else(|| quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')));
                inner.map(|inner| Some(inner.to_owned()))
            }
        };
        let mapping = |(key, route): (String, String)| {
            let (task, modality) = key.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
            Some(Mapping { task: of_element(task)?, modality: of_element(modality)?, route })
        };
        Ok(self.keys.string_map("route_mappings")?.into_iter().filter_map(mapping).collect())
    }
}

/// The names of an object's keys, in the order of the file.
#[derive(Default)]
struct Ordered(Vec<String>);

/// Returns the names of the routes in the order of the file: the first may be the default.
fn ordered_routes(file: &str, bytes: &[u8]) -> Result<Ordered> {
    #[derive(serde::Deserialize)]
    struct File {
        #[serde(default)]
        structure: Ordered,
    }
    config::parse_json::<File>(file, bytes).map(|file| file.structure)
}

impl<'de> serde::Deserialize<'de> for Ordered {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Keys;
        impl<'de> serde::de::Visitor<'de> for Keys {
            type Value = Ordered;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of routes")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> std::result::Result<Ordered, A::Error> {
                let mut names = Vec::new();
                while let Some((name, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                    names.push(name);
                }
                Ok(Ordered(names))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// An entry of `route_mappings`. None stands for any.
struct Mapping {
    task: Option<String>,
    modality: Option<String>,
    route: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn routes(parameters: Value) -> [std::result::Result<usize, String>; 3] {
        let class = "sentence_transformers.sparse_encoder.models.SparseStaticEmbedding";
        let config = json!({
            "types": {"a": class, "b": class},
            "structure": {"document": ["a"], "query": ["b"]},
            "parameters": parameters,
        });
        let files = ModelFiles::in_memory().with("router_config.json", config.to_string().into_bytes());
        let router = Router::read(&files).expect("a router");
        assert_eq!(router.routes.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["document", "query"]);
        Task::ALL.map(|task| router.route(task).map_err(|error| error.to_string()))
    }

    #[test]
    fn task_leads_to_mapping_or_name_or_default() {
        assert_eq!(routes(json!({"default_route": "query"})), [Ok(1), Ok(1), Ok(0)]);
        assert_eq!(routes(json!({})), [Ok(0), Ok(1), Ok(0)]);
        let mapped = json!({"('query', 'text')": "document", "(None, None)": "query", "('x', ('text', 'image'))": "y"});
        assert_eq!(routes(json!({"route_mappings": mapped})), [Ok(1), Ok(0), Ok(1)]);
        let [unspecified, ..] = routes(json!({"allow_empty_key": false}));
        let message = unspecified.expect_err("no default");
        assert!(
            message.contains("no route for texts without a task") && message.contains("document, query"),
            "{message}"
        );
        let [wrong, ..] = routes(json!({"default_route": "passage"}));
        assert!(wrong.expect_err("no such route").contains("default_route"));
    }
}
