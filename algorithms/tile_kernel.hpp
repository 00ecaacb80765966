#pragma once
#include <cstdint>
#include <memory>

#include "algorithms/kernel.hpp"

namespace tally {

// The computing half of a model whose rows are independent, as engines see it (see FamilyKernel).
template <class Lane, class Real>
class TileKernel {
 public:
  virtual ~TileKernel() = default;

  virtual Index feature_width() const = 0;
  virtual void features(Lane& lane, const Tile<Real>& tile, MatrixView<Real> out) const = 0;
  virtual void expect(Lane& lane, const Tile<Real>& tile, MatrixView<const Real> features, CandidateWork<Real>& work,
                      double* row_objectives, double* objective) const = 0;
  virtual void add_statistics(Lane& lane, const Tile<Real>& tile, MatrixView<const Real> features,
                              const CandidateWork<Real>& work, double* statistics) const = 0;
  virtual void take_given(Lane& lane, const Tile<Real>& tile, CandidateWork<Real>& work) const = 0;
  virtual void add_given_statistics(Lane& lane, const Tile<Real>& tile, MatrixView<const Real> features,
                                    const CandidateWork<Real>& work, double* statistics) const = 0;
  virtual void labels(const Tile<Real>& tile, const CandidateWork<Real>& work, std::int32_t* out) const = 0;
  virtual void responsibilities(const Tile<Real>& tile, const CandidateWork<Real>& work, double* out) const = 0;
  virtual Index workspace_bytes() const { return 0; }
  // Whether it reads and writes CandidateWork::remembered, where a row has one for each of so many candidates. `follow` then adds to what that says was moved (K), from one pass'
  // coefficients, exact, to the next's.
  virtual bool remembers(Index /*candidates*/) const { return false; }
  virtual void follow(const double* /*before*/, const double* /*after*/, double* /*moved*/) const {}
};

// A kernel of any type as a TileKernel:
//   Index feature_width() const;
//   void features(Lane&, const Tile<Real>&, MatrixView<Real> out) const;            shared by all candidates
//   void expect(Lane&, const Tile<Real>&, MatrixView<const Real> features, CandidateWork<Real>&,
//               double* row_objectives, double* objective) const;                   the E-step of a tile
//   void take_given(Lane&, const Tile<Real>&, CandidateWork<Real>&) const;          posterior from labels
//   void add_statistics(Lane&, const Tile<Real>&, MatrixView<const Real> features, const CandidateWork<Real>&,
//                       double* statistics) const;
//   void add_given_statistics(...) const;                                           the same after take_given
//   void labels(const Tile<Real>&, const CandidateWork<Real>&, int32* out) const;   on the host, after expect
//   void responsibilities(const Tile<Real>&, const CandidateWork<Real>&, double* out) const;
// and, where it has them, workspace_bytes, remembers and follow as above.
// It is made of shapes alone; its functions are templates, so that one source serves every backend.
template <class Kernel, class Lane, class Real>
class TileKernelOf final : public TileKernel<Lane, Real> {
  using Features = MatrixView<const Real>;

 public:
  explicit TileKernelOf(const Kernel& kernel) : kernel_(kernel) {}

  Index feature_width() const override { return kernel_.feature_width(); }
  void features(Lane& lane, const Tile<Real>& tile, MatrixView<Real> out) const override {
    kernel_.features(lane, tile, out);
  }
  void expect(Lane& lane, const Tile<Real>& tile, Features features, CandidateWork<Real>& work, double* row_objectives,
              double* objective) const override {
    kernel_.expect(lane, tile, features, work, row_objectives, objective);
  }
  void add_statistics(Lane& lane, const Tile<Real>& tile, Features features, const CandidateWork<Real>& work,
                      double* statistics) const override {
    kernel_.add_statistics(lane, tile, features, work, statistics);
  }
  void take_given(Lane& lane, const Tile<Real>& tile, CandidateWork<Real>& work) const override {
    kernel_.take_given(lane, tile, work);
  }
  void add_given_statistics(Lane& lane, const Tile<Real>& tile, Features features, const CandidateWork<Real>& work,
                            double* statistics) const override {
    kernel_.add_given_statistics(lane, tile, features, work, statistics);
  }
  void labels(const Tile<Real>& tile, const CandidateWork<Real>& work, std::int32_t* out) const override {
    kernel_.labels(tile, work, out);
  }
  void responsibilities(const Tile<Real>& tile, const CandidateWork<Real>& work, double* out) const override {
    kernel_.responsibilities(tile, work, out);
  }
  Index workspace_bytes() const override {
    if constexpr (requires { kernel_.workspace_bytes(); }) return kernel_.workspace_bytes();
    return 0;
  }
  bool remembers(Index candidates) const override {
    if constexpr (requires { kernel_.remembers(candidates); }) return kernel_.remembers(candidates);
    return false;
  }
  void follow(const double* before, const double* after, double* moved) const override {
    if constexpr (requires { kernel_.follow(before, after, moved); }) kernel_.follow(before, after, moved);
  }

 private:
  const Kernel kernel_;
};

template <class Lane>
using TileKernels = InBothPrecisions<TileKernel, Lane>;

template <class Lane, class Kernel>
TileKernels<Lane> tile_kernels(const Kernel& kernel) {
  return {std::make_shared<TileKernelOf<Kernel, Lane, double>>(kernel),
          std::make_shared<TileKernelOf<Kernel, Lane, float>>(kernel)};
}

}  // namespace tally
