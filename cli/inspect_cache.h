#pragma once

namespace CLI {
class App;
}

namespace kvg::cli {

// `inspect cache`: exact bytes of methods at a model's geometry.
void add_inspect_cache(CLI::App& inspect);

}  // namespace kvg::cli
