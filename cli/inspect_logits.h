#pragma once

namespace CLI {
class App;
}

namespace kvg::cli {

// `inspect logits`: what a model says after every token of a text, for comparison with others.
void add_inspect_logits(CLI::App& inspect);

}  // namespace kvg::cli
