#include "algorithms/model.hpp"

#include "core/error.hpp"

namespace tally {

void BoundModel::decode(Shard&, MessageExchange&, const VisitPath&, const VisitProbability&, const Shard::Pulse&) {
  throw UsageError("this model knows no sequences: there is no path to decode; use tally predict");
}

}  // namespace tally
