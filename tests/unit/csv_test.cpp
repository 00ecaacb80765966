#include "core/csv.hpp"

#include <clocale>
#include <cmath>
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
using testing::IsEmpty;

class CsvTest : public testing::Test {
 protected:
  CsvReader reader(std::string_view text) { return CsvReader(folder.write("x.csv", text)); }
  std::vector<double> values(std::string_view text) {
    auto opened = reader(text);
    std::vector<double> all;
    opened.read(std::numeric_limits<Index>::max(), all);
    return all;
  }
  std::string refusal(std::string_view text) {
    const auto message = message_of<DataError>([&] { values(text); });
    const auto start = folder.file("x.csv");
    EXPECT_THAT(message, testing::StartsWith(start));
    return message.substr(std::min(message.size(), start.size() + 1));
  }

  TemporaryFolder folder;
};

TEST_F(CsvTest, EveryDelimiterReadsTheSame) {
  for (const std::string text :
       {"1,2\n3,-4.5\n", "1\t2\n3\t-4.5\n", "1;2\n3;-4.5\n", "1 2\n3 -4.5\n", "  1   2  \n 3  -4.5",
        "1 , 2\n 3,-4.5", "1,2\r\n3,-4.5\r\n",
        "\xEF\xBB\xBF"
        "1,2\n3,-4.5",
        "\"1\",\"2\"\n3,\" -4.5\"", "# c\n\n1,2 # c\n   \n#x\n3,-4.5\n\n", "+1,2.0e0\n.3e1,-45e-1"}) {
    auto opened = reader(text);
    EXPECT_EQ(opened.columns(), 2) << text;
    EXPECT_THAT(opened.header(), IsEmpty()) << text;
    EXPECT_THAT(values(text), ElementsAre(1, 2, 3, -4.5)) << text;
  }
}

TEST_F(CsvTest, ALineWithoutNumbersIsAHeader) {
  auto opened = reader("# made by hand\nlength,\"width, cm\"\n1,2\n");
  std::vector<double> all;
  opened.read(10, all);

  EXPECT_THAT(opened.header(), ElementsAre("length", "width, cm"));
  EXPECT_THAT(all, ElementsAre(1, 2));
}

TEST_F(CsvTest, OneNumberInTheFirstLineMakesItData) {
  EXPECT_EQ(refusal("1,b\n2,3\n"), "line 1 column 2 holds 'b', which is not a number");
}

TEST_F(CsvTest, OneColumnNeedsNoDelimiter) {
  EXPECT_THAT(values("y\n1\n2\n"), ElementsAre(1, 2));
}

TEST_F(CsvTest, NotANumberAndInfinityAreNumbers) {
  const auto read = values("nan,NaN,inf,-INF,Infinity\n");

  EXPECT_TRUE(std::isnan(read[0]) && std::isnan(read[1]));
  EXPECT_EQ(read[2], std::numeric_limits<double>::infinity());
  EXPECT_EQ(read[3], -std::numeric_limits<double>::infinity());
  EXPECT_EQ(read[4], std::numeric_limits<double>::infinity());
}

TEST_F(CsvTest, SeventeenDigitsAreExact) {
  EXPECT_THAT(values("0.10000000000000001,1.7976931348623157e308,5e-324,1e-999,-1e-999\n"),
              ElementsAre(0.1, std::numeric_limits<double>::max(), std::numeric_limits<double>::denorm_min(),
                          0.0, -0.0));
}

TEST_F(CsvTest, BadCellsAreFound) {
  EXPECT_EQ(refusal("1,2\n3,x\n"), "line 2 column 2 holds 'x', which is not a number");
  EXPECT_EQ(refusal("1,2\n\n,3\n"), "line 3 column 1 is empty; write nan for a missing value");
  EXPECT_EQ(refusal("1,2\n3,\n"), "line 2 column 2 is empty; write nan for a missing value");
  EXPECT_EQ(refusal("1\t2\n\t3\n"), "line 2 column 1 is empty; write nan for a missing value");
  EXPECT_EQ(refusal("1,2\n3,1e999\n"), "line 2 column 2 holds '1e999', too large for a double");
  EXPECT_EQ(refusal("1;2\n3;4,5\n"), "line 2 column 2 holds '4,5', which is not a number");
  for (const std::string bad : {"1.2.3", "0x10", "--1", "+-1", "1e", "NA", "1 2"})
    EXPECT_THAT(refusal("1,2\n3," + bad + "\n"), HasSubstr("line 2 column 2 holds '" + bad + "'"));
}

TEST_F(CsvTest, RaggedRowsAreRefused) {
  EXPECT_EQ(refusal("a,b,c\n1,2,3\n4,5\n"), "line 3 has 2 columns but line 1 has 3");
  EXPECT_EQ(refusal("1 2\n1 2 3\n"), "line 2 has 3 columns but line 1 has 2");
}

TEST_F(CsvTest, NothingToReadIsSaid) {
  EXPECT_EQ(refusal(""), "holds no rows");
  EXPECT_EQ(refusal("# only\n\n"), "holds no rows");
  EXPECT_EQ(reader("a,b\n").count_rows(), 0);
  EXPECT_EQ(message_of<DataError>([&] { CsvReader(folder.file("none.csv")); }),
            folder.file("none.csv") + " does not exist");
  EXPECT_THAT(message_of<DataError>([&] { CsvReader(folder.path().string()); }), HasSubstr("Is a directory"));
}

TEST_F(CsvTest, BatchesJoinToTheWhole) {
  std::string text = "a,b\n";
  std::vector<double> expected;
  for (int i = 0; i < 200000; ++i) {
    text += std::to_string(i) + ",-" + std::to_string(i) + ".5\n";
    expected.insert(expected.end(), {static_cast<double>(i), -i - 0.5});
  }
  auto opened = reader(text);
  EXPECT_EQ(opened.count_rows(), 200000);

  for (const Index most : {Index{7777}, Index{200000}}) {
    opened.rewind();
    std::vector<double> all, batch;
    while (const Index rows = opened.read(most, batch)) {
      ASSERT_EQ(batch.size(), static_cast<std::size_t>(2 * rows));
      all.insert(all.end(), batch.begin(), batch.end());
    }
    EXPECT_EQ(all, expected);
  }
}

TEST_F(CsvTest, ALineLongerThanTheBufferIsRead) {
  std::string text = "0";
  for (int i = 1; i < 400000; ++i) text += "," + std::to_string(i);

  const auto read = values(text + "\n" + text);

  ASSERT_EQ(read.size(), 800000U);
  EXPECT_EQ(read[399999], 399999);
  EXPECT_EQ(read[799999], 399999);
}

TEST_F(CsvTest, TheLocaleDoesNotMatter) {
  const std::string old = std::setlocale(LC_NUMERIC, nullptr);
  for (const char* locale : {"de_DE.UTF-8", "de_DE", "C"}) {
    std::setlocale(LC_NUMERIC, locale);
    EXPECT_THAT(values("1.5,2\n"), ElementsAre(1.5, 2));
  }
  std::setlocale(LC_NUMERIC, old.c_str());
}

}  // namespace
}  // namespace tally
