/*
 * The package that a function belongs to, taken from its name: crate of Rust, package of Go and
 * Java, namespace of C++, folder of a JavaScript module. What has none belongs to its module.
 */

/**
 * @param {string} name of the function
 * @param {string} module file that it was mapped from
 */
export function packageOf(name, module) {
  const plain = name.slice(0, 500);
  // Go: net/http.(*conn).serve, main.work, github.com/a/b.F[...]
  const go = /^((?:[\w.~-]+\/)*[\w~-]+)\.(?:\(\*?[\w.[\]]+\)|[\w[\]…]+)/.exec(plain);
  // Java: java.util.HashMap.get, java/util/HashMap.get, Ljava/util/HashMap;::get
  const java = /^L?((?:[a-z][\w$]*[./])+)[A-Z][\w$]*(?:[.;:]|$)/.exec(plain);
  if (java) return java[1].slice(0, -1).replaceAll("/", ".");
  // Rust: <tokio::runtime::Context as core::fmt::Debug>::fmt, alloc::vec::Vec<T>::push
  // C++: std::vector<int>::push_back(int)
  const path = /^(?:[\w ]+ )?[<&*\s]*(?:mut |dyn |const )*([A-Za-z_]\w*)(?:<[^>]*>)?::/.exec(plain);
  if (path) return path[1];
  if (go && !/\.(c|cc|cpp|so|js|mjs|ts|py)\b/.test(plain)) return go[1];
  // JavaScript: JS:~parse file:///srv/app/node_modules/express/lib/router.js:12
  const script = /node_modules\/((?:@[\w.-]+\/)?[\w.-]+)/.exec(plain) ?? /\b(node:[\w/]+)/.exec(plain);
  if (script) return script[1];
  return shortModule(module) || "[none]";
}

/** The last part of a path. @param {string} path */
export const shortModule = (path) => path.slice(path.lastIndexOf("/") + 1);
