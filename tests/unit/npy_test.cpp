#include "core/npy.hpp"

#include <cstdint>
#include <cstring>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.hpp"
#include "tests/unit/message_of.hpp"
#include "tests/unit/temporary_folder.hpp"

namespace tally {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class NpyTest : public testing::Test {
 protected:
  // A file as numpy.save writes it: the header padded so that the data begin at a multiple of 64.
  std::string put(const std::string& type, const std::string& order, const std::string& shape,
                  const std::string& data, int version = 1) {
    std::string header = "{'descr': " + type + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }";
    const std::size_t start = version == 1 ? 10 : 12;
    header.append(63 - (start + header.size()) % 64, ' ');
    header += '\n';
    std::string text = "\x93NUMPY";
    text += static_cast<char>(version);
    text += '\0';
    for (std::size_t i = 0; i < start - 8; ++i) text += static_cast<char>(header.size() >> 8 * i);
    return folder.write("x.npy", text + header + data);
  }
  std::vector<double> all_of(const std::string& file) {
    const NpyRows rows(file);
    std::vector<double> values(static_cast<std::size_t>(rows.rows() * rows.columns()));
    rows.read(0, rows.rows(), values.data());
    return values;
  }
  std::string refusal(const std::string& file) {
    const auto message = message_of<DataError>([&] { NpyRows rows(file); });
    return message.substr(std::min(message.size(), file.size() + 1));
  }

  TemporaryFolder folder;
};

TEST_F(NpyTest, NoRowsMayHaveAnyNumberOfColumns) {
  const NpyRows rows(put("'<f8'", "True", "(0, 4611686018427387904)", ""));

  rows.read(0, 0, nullptr);

  EXPECT_EQ(rows.rows(), 0);
}

template <class T>
std::string bytes(const std::vector<T>& values, bool swapped = false) {
  std::string text;
  for (const T value : values) {
    std::string one(sizeof(T), '\0');
    std::memcpy(one.data(), &value, sizeof(T));
    if (swapped) std::reverse(one.begin(), one.end());
    text += one;
  }
  return text;
}

template <class T>
class NpyTypeTest : public NpyTest {};

struct TypeNames {
  template <class T>
  static std::string GetName(int) {
    return (std::is_floating_point_v<T> ? "f" : std::is_signed_v<T> ? "i" : "u") + std::to_string(sizeof(T));
  }
};
using Numbers = testing::Types<float, double, std::int8_t, std::int16_t, std::int32_t, std::int64_t,
                               std::uint8_t, std::uint16_t, std::uint32_t, std::uint64_t>;
TYPED_TEST_SUITE(NpyTypeTest, Numbers, TypeNames);

TYPED_TEST(NpyTypeTest, BothByteOrdersReadTheSame) {
  using Limits = std::numeric_limits<TypeParam>;
  const std::vector<TypeParam> values{0, 1, 2, Limits::lowest(), Limits::max(), 100};
  const std::vector<double> expected(values.begin(), values.end());
  const auto name = TypeNames::GetName<TypeParam>(0);

  EXPECT_EQ(this->all_of(this->put("'<" + name + "'", "False", "(3, 2)", bytes(values))), expected);
  EXPECT_EQ(this->all_of(this->put("'>" + name + "'", "False", "(3, 2)", bytes(values, true))), expected);
}

TEST_F(NpyTest, OnlyNarrowTypesFitFloat) {
  for (const std::string type : {"'<f4'", "'|i1'", "'<i2'", "'|u1'", "'>u2'", "'|b1'"})
    EXPECT_TRUE(NpyRows(put(type, "False", "(0,)", "")).fits_float()) << type;
  for (const std::string type : {"'<f8'", "'<i4'", "'<u4'", "'>i8'"})
    EXPECT_FALSE(NpyRows(put(type, "False", "(0,)", "")).fits_float()) << type;
}

TEST_F(NpyTest, FortranOrderReadsAsItsRows) {
  const auto file = put("'<f8'", "True", "(3, 2)", bytes<double>({1, 2, 3, 10, 20, 30}));
  const NpyRows rows(file);
  std::vector<double> last(4);
  rows.read(1, 2, last.data());

  EXPECT_THAT(all_of(file), ElementsAre(1, 10, 2, 20, 3, 30));
  EXPECT_THAT(last, ElementsAre(2, 20, 3, 30));
}

TEST_F(NpyTest, EveryVersionReadsTheSame) {
  for (const int version : {1, 2, 3})
    EXPECT_THAT(all_of(put("'<i2'", "False", "(2,)", bytes<std::int16_t>({-5, 6}), version)),
                ElementsAre(-5, 6));
  EXPECT_THAT(refusal(put("'<i2'", "False", "(2,)", "", 4)), HasSubstr("has .npy format 4"));
}

TEST_F(NpyTest, OneDimensionIsOneColumn) {
  const NpyRows rows(put("'|b1'", "True", "(3,)", bytes<std::uint8_t>({1, 0, 1})));

  EXPECT_EQ(rows.rows(), 3);
  EXPECT_EQ(rows.columns(), 1);
  EXPECT_EQ(rows.where(2), folder.file("x.npy") + " row 2");
  EXPECT_THAT(all_of(folder.file("x.npy")), ElementsAre(1, 0, 1));
}

TEST_F(NpyTest, PiecesLargerThanTheBufferAreRead) {
  std::vector<double> values(1200000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i);

  EXPECT_EQ(all_of(put("'<f8'", "False", "(400000, 3)", bytes(values))), values);
  EXPECT_EQ(all_of(put("'<f8'", "True", "(1200000, 1)", bytes(values))), values);
}

TEST_F(NpyTest, ZeroRowsOrColumnsOpen) {
  EXPECT_EQ(NpyRows(put("'<f8'", "False", "(0, 3)", "")).columns(), 3);
  const NpyRows rows(put("'<f8'", "True", "(3, 0)", ""));
  EXPECT_EQ(rows.rows(), 3);
  rows.read(0, 3, nullptr);
}

TEST_F(NpyTest, OtherTypesAndShapesAreRefused) {
  EXPECT_THAT(refusal(put("'<c16'", "False", "(1,)", std::string(16, '\0'))),
              HasSubstr("type '<c16'; convert it"));
  EXPECT_THAT(refusal(put("'|O'", "False", "(1,)", "")), HasSubstr("elements of type '|O'"));
  EXPECT_THAT(refusal(put("[('a', '<f8')]", "False", "(1,)", std::string(8, '\0'))),
              HasSubstr("holds records"));
  EXPECT_EQ(refusal(put("'<f8'", "False", "()", std::string(8, '\0'))),
            "has 0 dimensions; it must have one or two");
  EXPECT_EQ(refusal(put("'<f8'", "False", "(1, 1, 1)", std::string(8, '\0'))),
            "has 3 dimensions; it must have one or two");
}

TEST_F(NpyTest, BrokenFilesAreRefused) {
  EXPECT_EQ(refusal(folder.file("none.npy")), "does not exist");
  EXPECT_EQ(refusal(folder.path().string()), "cannot be read: it is no regular file");
  EXPECT_EQ(refusal(folder.write("text.npy", "1,2,3,4,5,6,7,8,9,10\n")), "is not a .npy file");
  EXPECT_EQ(refusal(folder.write("empty.npy", "")), "is not a .npy file");
  EXPECT_EQ(refusal(put("'<f8'", "False", "(3,)", std::string(23, '\0'))),
            "is truncated: it has 151 bytes and should have 152; copy it again");
  for (const std::string shape :
       {"(3", "(-1,)", "(x,)", "3", "(99999999999999999999,)", "(9223372036854775807, 9223372036854775807)"})
    EXPECT_THAT(refusal(put("'<f8'", "False", shape, "")), HasSubstr("header that is not understood"))
        << shape;
  const auto whole = bytes_of(put("'<f8'", "False", "(1,)", std::string(8, '\0')));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    put_bytes(folder.file("cut.npy"), {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)});
    EXPECT_THROW(NpyRows rows(folder.file("cut.npy")), DataError) << size;
  }
}

TEST_F(NpyTest, RowsOutsideAreRefused) {
  const NpyRows rows(put("'<f8'", "False", "(1,)", std::string(8, '\0')));
  double value = 0;

  EXPECT_THROW(rows.read(1, 1, &value), UsageError);
  EXPECT_THROW(rows.read(-1, 1, &value), UsageError);
}

}  // namespace
}  // namespace tally
